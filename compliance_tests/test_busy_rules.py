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
#: Of processor time, for all of them together; where the defence holds it is about one.
BUSY_SECONDS = 6


@pytest.fixture
def door(subject, topology, places) -> Door:
    """The edge under test, from outside."""
    return Door.of(topology, places, topology.node(subject.node))


@pytest.mark.control("dengbao:8.1.3.3.a", "dengbao:8.1.4.4.d", "iso27001:A.8.6")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_a_row_of_signs_does_not_keep_the_edge_busy(host, door, subject, observe):
    """Without a session, a dozen long rows of line breaks, braces or brackets take the edge six seconds of processor time at most.

    zh: 无会话的请求以大量换行、花括号等符号填充文本、名称或 Cookie 时，边界处理全部十二个请求共占用处理器时间不超过六秒。
    """

    def spent(when: str) -> float:
        """Seconds of processor time of the edge's processes so far, those that have ended among them."""
        return float(
            host.check_output(
                f": {when}; cat /proc/[0-9]*/stat 2>/dev/null | awk -v tick=$(getconf CLK_TCK)"
                " '$2 == \"(apache2)\" {spent += $14 + $15 + $16 + $17} END {print spent / tick}'"
            )
        )

    def send(what: str, params: list[object], headers: dict[str, str]) -> None:
        call = {"id": 0, "method": "common.server.version", "params": params}
        kind = {"Content-Type": "application/json"}
        began = time.time()
        status = door.request("POST", "/crm/", json.dumps(call).encode(), {**kind, **headers}).status
        observe(subject.node, f"{what}: {str(params)[:40]!r} {str(headers)[:80]}", f"HTTP {status}", began=began)
        assert status in {401, 403}, f"{what}: HTTP {status}"

    before = spent("before")
    for signs in BUSY:
        send("a text", [signs], {})
        send("a name", [{signs: 1}], {})
        send("a cookie", [], {"Cookie": "a=" + ("a= " * 2500 if "\n" in signs else signs)})
    took = spent("after") - before
    assert took <= BUSY_SECONDS, f"a dozen small requests without a session kept the edge busy for {took:.0f} s"


SABOTAGE = (
    Sabotage(
        "the set's rules for commands read texts again",
        on="edge",
        breaks="sed -i.sabotage '/^SecRuleUpdateTargetById 932\\(2[356]\\|34\\)0 /d' /etc/apache2/jinku/waf.conf && systemctl reload apache2 && sleep 1",
        mends="mv /etc/apache2/jinku/waf.conf.sabotage /etc/apache2/jinku/waf.conf && systemctl reload apache2 && sleep 1",
        kills=("test_a_row_of_signs_does_not_keep_the_edge_busy",),
    ),
)
