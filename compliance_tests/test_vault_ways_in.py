# SPDX-License-Identifier: Apache-2.0
"""OpenBao: no way in and no right but what Jinku made: methods, engines, policies, roles, operators' entries, tokens."""

import time

import pytest
from test_vault import POLICY_OF_AUDITORS
from vault_sabotage import by_the_manager

from jinku.evidence.sabotage import Sabotage
from jinku.vault.ways_in import strangers


@pytest.mark.control("dengbao:8.1.4.2.b", "dengbao:8.1.4.2.d", "iso27001:A.8.2")
@pytest.mark.objects("vault")
@pytest.mark.setting
def test_there_is_no_other_way_into_the_vault(vault, subject, observe):
    """Every login method, engine, policy, role, operator's entry and live token is one that Jinku made, and says what it should.

    zh: 所有登录方式、引擎、策略、角色、管理员条目与有效令牌均由 Jinku 建立且内容一致，无 root 或长期令牌。
    """
    began = time.time()
    found = strangers(vault.fleet, vault("manager"), vault("audit"))
    text = (
        "\n".join(found) or "methods, engines, policies, roles, operators' entries and tokens are ours and as declared"
    )
    observe(subject.node, "OpenBao: what there is, compared with what Jinku makes", text, len(found), began=began)
    assert not found, "; ".join(found[:4])


END_IN_A_ROLE = by_the_manager(
    "path = 'pki_int/roles/host-' + fleet.machines[0].name\n"
    "client.write_data(path, data={**client.read(path)['data'], 'not_after': '%s'})"
)
SABOTAGE = (
    Sabotage(
        "a machine's certificates are good until 2040, whatever their longest life",
        on="vault",
        where="controller",
        breaks=END_IN_A_ROLE % "2040-01-01T00:00:00Z",
        mends=END_IN_A_ROLE % "",
        kills=("test_there_is_no_other_way_into_the_vault",),
    ),
    Sabotage(
        "a policy says more than any expectation asks",
        on="vault",
        where="controller",
        breaks=POLICY_OF_AUDITORS % 'path "sys/storage/*" { capabilities = ["read"] }',
        mends=POLICY_OF_AUDITORS % "",
        kills=("test_there_is_no_other_way_into_the_vault",),
    ),
)
