# SPDX-License-Identifier: Apache-2.0
"""Named people at the vault: who sets policies, who may log in, and for how long a key is signed."""

import contextlib
import shlex
import time

import pytest
from asking import ONE_AUTHORITY, SECOND_AUTHORITY, people_on, sshd_setting, trusted_authorities
from vault_sabotage import VAULT_FOLDER, by_the_manager

from jinku.evidence.sabotage import Sabotage
from jinku.holders import left_with_a_share, share_file
from jinku.people_access import code_of, entered
from jinku.vault import Fleet, VaultError, through_the_bastion
from jinku.vault.people import USER_CA

# The clause sets no time; a certificate that outlives a working day would be a standing key again.
LONGEST_S = 12 * 3600
SYSTEM_DUTY_AT_THE_VAULT = by_the_manager(
    """
for one in fleet.people:
    if one.duty == "system":
        entry = client.read(f"auth/people/certs/{one.name}")["data"]
        wanted = [f"person-{one.name}", *%s]
        client.write_data(f"auth/people/certs/{one.name}", data={**entry, "token_policies": wanted})
"""
)
LEAVER = "somebody-who-left"
LEAVER_AT_THE_VAULT = by_the_manager(
    f"LEAVER = {LEAVER!r}"
    """
from jinku.model.people import fingerprint
own, path = fingerprint(places.automation_key.with_suffix(".pub").read_text()), f"auth/people/certs/{LEAVER}"
entry = client.read(f"auth/people/certs/{fleet.people[0].name}")["data"]
client.%s
"""
)
ENFORCED_AT_THE_VAULT = by_the_manager(
    """
rule = client.read("identity/mfa/login-enforcement/people")["data"]
accessor = client.read("sys/auth")["data"]["%s"]["accessor"]
wanted = {"mfa_method_ids": rule["mfa_method_ids"], "auth_method_accessors": [accessor]}
client.write_data("identity/mfa/login-enforcement/people", data=wanted)
"""
)


@contextlib.contextmanager
def at_the_vault(topology, places, sessions, name):
    """A person's client at the vault, logged in with the own key."""
    fleet = Fleet.of(topology, places)
    kit = sessions.kit(name)
    with (
        through_the_bastion(fleet, kit.config) as door,
        entered(fleet, door, name, kit.key, code_of(places, name)) as client,
    ):
        yield client


@pytest.mark.control(
    "dengbao:8.1.5.3.b", "dengbao:8.1.5.1.a", "dengbao:8.1.5.2.a", "dengbao:8.1.4.2.d", "iso27001:A.5.3"
)
@pytest.mark.objects("vault")
@pytest.mark.behaviour
def test_policies_are_set_by_the_security_duty_only(people, observe, topology, places, subject):
    """As each person at the vault: the security administrator may change policies and people; the others may not, the auditor only looks.

    zh: 以各管理员身份登录密钥库：仅安全管理员可修改策略与人员；审计管理员只可查看，系统管理员两者皆不可。
    """
    sets = [
        "sys/policies/acl/crm",
        "auth/people/certs/" + next(one.name for one in topology.env.operators if one.duty == "system"),
    ]
    for one in topology.env.operators:
        if one.state != "present":
            continue
        began = time.time()
        with at_the_vault(topology, places, people, one.name) as client:
            answer = client.write_data("sys/capabilities-self", data={"paths": [*sets, "ssh_people/sign/" + one.name]})[
                "data"
            ]
        observe(
            subject.node,
            f"OpenBao as {one.name}: sys/capabilities-self",
            str({path: answer[path] for path in sets}),
            began=began,
        )
        for path in sets:
            assert ("update" in answer[path]) is (one.duty == "security"), (
                f"{one.name} ({one.duty}) at {path}: {answer[path]}"
            )
            assert ("read" in answer[path]) is (one.duty != "system"), (
                f"{one.name} ({one.duty}) at {path}: {answer[path]}"
            )


@pytest.mark.control(
    "dengbao:8.1.5.3.b", "dengbao:8.1.5.1.a", "dengbao:8.1.5.2.a", "dengbao:8.1.4.2.c", "iso27001:A.5.18"
)
@pytest.mark.objects("vault")
@pytest.mark.setting
def test_the_vault_knows_the_people_who_are_here_and_their_duties(vault, observe, topology, subject):
    """Those who may log in are the declared people, each with the policy of the own duty; a key is signed for hours.

    zh: 可登录密钥库者即已声明人员，各自仅有本职责的策略；SSH 证书有效期以小时计。
    """
    auditor = vault("audit")
    declared = {one.name: one.duty for one in topology.env.operators if one.state == "present"}
    began = time.time()
    known = auditor.list("auth/people/certs")["data"]["keys"]
    observe(subject.node, "OpenBao: LIST auth/people/certs", " ".join(known), began=began)
    assert sorted(known) == sorted(declared), f"who may log in: {sorted(known)}"
    for name, duty in declared.items():
        entry = auditor.read(f"auth/people/certs/{name}")["data"]
        role = auditor.read(f"ssh_people/roles/{name}")["data"]
        told = f"{name}: {entry['token_policies']}, certificates of {role['max_ttl']} s for {role['allowed_users']}"
        observe(subject.node, f"OpenBao: READ auth/people/certs/{name}, ssh_people/roles/{name}", told)
        beside = {"system": set(), "audit": {"audit"}, "security": {"manager"}}[duty]
        assert set(entry["token_policies"]) == {f"person-{name}", *beside}, told
        assert 0 < int(role["max_ttl"]) <= LONGEST_S, told
        assert role["allowed_users"].startswith(f"{name}.{duty}."), told


LEAVER = "somebody-who-left"
# The vault's own words; a refusal for want of a second technique would say something else.
REFUSED_BY_CERTIFICATE = ("invalid certificate", "no chain matching all constraints")


@pytest.mark.control("dengbao:8.1.4.2.c", "iso27001:A.5.18")
@pytest.mark.objects("vault")
@pytest.mark.behaviour
def test_a_leaver_and_a_borrowed_name_are_refused(people, observe, topology, places, subject):
    """With certificates of the operators' own authority: a person gets in; a leaver does not, nor a person's name with another key.

    zh: 同样持有运维机构签发的证书：在职人员可登录密钥库；离职者名称、或以他人密钥冒用在职人员名称均在证书环节被拒。
    """
    fleet = Fleet.of(topology, places)
    present = next(one.name for one in topology.env.operators if one.state == "present")
    # The kit's certificate was signed for a login of this session of tests, with the own key.
    kit = people.kit(present)
    observe(subject.node, f"OpenBao: login of {present} with the own key, signing", kit.certificate.read_text())
    with through_the_bastion(fleet, kit.config) as door:
        for name, whose in ((LEAVER, "a key of nobody's"), (present, "a key of somebody else's")):
            began = time.time()
            try:
                with entered(fleet, door, name, places.automation_key, "000000"):
                    said = "in"
            except VaultError as error:
                said = str(error)
            observe(subject.node, f"OpenBao: login of {name} with {whose}", said, 1, began=began)
            assert any(words in said for words in REFUSED_BY_CERTIFICATE), (
                f"{name} with {whose}: not refused for the certificate: {said}"
            )


@pytest.mark.control("dengbao:8.1.4.2.c", "iso27001:A.5.18")
@pytest.mark.objects("vault")
@pytest.mark.setting
def test_nobody_who_left_holds_a_share_of_the_vaults_key(observe, topology, places):
    """The shares of the vault's key were made for people who are here: none for somebody who left since (`jinku rekey`).

    zh: 密钥库密钥的份额仅由在职人员持有；持有者离职后已更换份额（`jinku rekey`）。
    """
    here = [one.name for one in topology.env.operators if one.state == "present"]
    left = left_with_a_share(places.vault, here)
    observe("controller", "whom the shares were made for, who is no operator", " ".join(left) or "nobody")
    assert not left, f"left and holds a share: {', '.join(left)}; `jinku rekey`"
    # Both may have been put away, as the manual says: then nobody is known, which proves nothing.
    known = (places.vault / "recovery.json").exists() or any(places.vault.glob("share.*.gpg"))
    if not known:
        pytest.skip("no recovery.json and no share lies on this controller: it does not know who holds one")


@pytest.mark.control("dengbao:8.1.4.1.d", "iso27001:A.8.5")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_people_prove_themselves_twice(host, topology, places, subject, vault, observe):
    """A host takes people's certificates of the vault only, and the vault signs none without key and one-time code.

    zh: 本机仅接受密钥库签发的人员证书；密钥库须同时验证密钥与一次性口令才签发。
    """
    setting = sshd_setting(host)
    ours = (places.ssh / USER_CA).read_text().split()[:2]
    assert trusted_authorities(host, setting) == [ours], "another authority than the vault's is trusted"
    for one in people_on(topology, subject.node):
        keys = host.run("cat /etc/ssh/authorized_keys.d/%s", one.name).stdout.splitlines()
        standing = [key for key in keys if 'command="/usr/bin/false"' not in key]
        assert not standing, f"a key alone opens sessions for {one.name}"
    manager = vault("manager")
    rule = manager.read("identity/mfa/login-enforcement/people")["data"]
    method = manager.read("sys/auth")["data"]["people/"]["accessor"]
    told = f"for {rule['auth_method_accessors']} (people: {method}), by {rule['mfa_method_ids']}"
    observe("controller", "OpenBao: READ identity/mfa/login-enforcement/people", told)
    assert method in rule["auth_method_accessors"], f"the vault asks people for no second technique: {told}"
    assert rule["mfa_method_ids"], f"the vault asks for nothing: {told}"


@pytest.mark.control("dengbao:8.1.4.1.d", "iso27001:A.8.5")
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_the_key_without_the_code_gets_no_certificate(people, observe, topology, subject):
    """Someone of this host's people shows the right key and a wrong code: the vault refuses; with the right code it signs.

    zh: 出示正确密钥但一次性口令错误时密钥库拒绝；两者皆正确时才签发证书。
    """
    name = people_on(topology, subject.node)[0].name
    said = people.with_a_wrong_code(name)
    observe("controller", f"OpenBao: login of {name} with the own key and a wrong code", said)
    assert "asks for no second technique" not in said, f"let in with the key alone: {said}"
    assert "is refused" in said, f"let in with a wrong code: {said}"
    assert people.kit(name).certificate.exists(), "not even with both is a key signed, so the refusal proves nothing"


LEAVERS_SHARE = shlex.quote(str(share_file(VAULT_FOLDER, LEAVER)))
SABOTAGE = (
    Sabotage(
        "a host takes people's certificates of a second authority, too",
        on="host",
        breaks=SECOND_AUTHORITY,
        mends=ONE_AUTHORITY,
        kills=("test_people_prove_themselves_twice",),
    ),
    Sabotage(
        "a leaver is still known at the vault",
        on="vault",
        where="controller",
        breaks=LEAVER_AT_THE_VAULT
        % "write_data(path, data={**entry, 'allowed_common_names': [LEAVER], 'allowed_organizational_units': [own]})",
        mends=LEAVER_AT_THE_VAULT % "delete(path)",
        kills=(
            "test_a_leaver_and_a_borrowed_name_are_refused",
            "test_the_vault_knows_the_people_who_are_here_and_their_duties",
        ),
    ),
    Sabotage(
        "somebody who left holds a share of the vault's key",
        on="vault",
        where="controller",
        breaks=f"touch {LEAVERS_SHARE}",
        mends=f"rm {LEAVERS_SHARE}",
        kills=("test_nobody_who_left_holds_a_share_of_the_vaults_key",),
    ),
    Sabotage(
        "the system administrators are managers at the vault",
        on="vault",
        where="controller",
        breaks=SYSTEM_DUTY_AT_THE_VAULT % '["manager"]',
        mends=SYSTEM_DUTY_AT_THE_VAULT % "[]",
        kills=(
            "test_policies_are_set_by_the_security_duty_only",
            "test_the_vault_knows_the_people_who_are_here_and_their_duties",
        ),
        nightly=True,
    ),
    Sabotage(
        "the vault asks people for no code",
        on="host",
        where="controller",
        breaks=ENFORCED_AT_THE_VAULT % "approle/",
        mends=ENFORCED_AT_THE_VAULT % "people/",
        kills=("test_people_prove_themselves_twice", "test_the_key_without_the_code_gets_no_certificate"),
    ),
)
