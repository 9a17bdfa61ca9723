# SPDX-License-Identifier: Apache-2.0
"""The edge's rules cost little, whatever they have to read: whoever sends it need not log in."""

import json
import time

import pytest
from crm_client import Door

from jinku.evidence.sabotage import Sabotage

#: Rows of signs that regular expressions part in every way. 1,600 of them, not the 15,000 that fit: where the defence is broken, these
#: cost some seconds and not the edge.
BUSY = ("\n" * 1600, "\r\n" * 800, "{" * 1600, "$(" * 800)
BUSY_SECONDS = 2


@pytest.fixture
def door(subject, topology, places) -> Door:
    """The edge under test, from outside."""
    return Door.of(topology, places, topology.node(subject.node))


@pytest.mark.control("dengbao:8.1.3.3.a", "dengbao:8.1.4.4.d", "iso27001:A.8.6")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_a_row_of_signs_does_not_keep_the_edge_busy(door, subject, observe):
    """Without a session, long rows of line breaks, braces or brackets take the edge two seconds at most, be they a text, a name or a cookie.

    zh: 无会话的请求以大量换行、花括号等符号填充文本、名称或 Cookie 时，边界在两秒内处理完毕。
    """

    def seconds(what: str, params: list[object], headers: dict[str, str]) -> float:
        call = {"id": 0, "method": "common.server.version", "params": params}
        began = time.time()
        status = door.request("POST", "/crm/", json.dumps(call).encode(), headers).status
        observe(subject.node, f"{what}: {str(params)[:40]!r} {str(headers)[:80]}", f"HTTP {status}", began=began)
        assert status in {401, 403}, f"{what}: HTTP {status}"
        return time.time() - began

    kind = {"Content-Type": "application/json"}
    slow = [
        f"{what} {signs[:4]!r}: {took:.0f} s"
        for signs in BUSY
        for what, took in (
            ("a text", seconds("a text", [signs], kind)),
            ("a name", seconds("a name", [{signs: 1}], kind)),
            (
                "a cookie",
                seconds("a cookie", [], {**kind, "Cookie": "a=" + ("a= " * 2500 if "\n" in signs else signs)}),
            ),
        )
        if took > BUSY_SECONDS
    ]
    assert not slow, f"the rules are kept busy by {', '.join(slow)}"


SABOTAGE = (
    Sabotage(
        "the set's rules for commands read texts again",
        on="edge",
        breaks="sed -i.sabotage '/^SecRuleUpdateTargetById 932\\(2[356]\\|34\\)0 /d' /etc/apache2/jinku/waf.conf && systemctl reload apache2 && sleep 1",
        mends="mv /etc/apache2/jinku/waf.conf.sabotage /etc/apache2/jinku/waf.conf && systemctl reload apache2 && sleep 1",
        kills=("test_a_row_of_signs_does_not_keep_the_edge_busy",),
    ),
)
