# SPDX-License-Identifier: Apache-2.0
"""The edge against attackers who know their trade: smuggled requests, programs as files, guessed passwords."""

import base64
import ipaddress
import json
import math
import socket
import time

import pytest
from apache_settings import edge_settings
from crm_client import Door
from known_attacks import ATTACKS
from ordinary_texts import TEXTS
from raw_http import said
from test_application import IDLE_SECONDS, TOKEN, of_the_crm, setting
from test_edge import IN_A_FIELD, ORDINARY

from jinku.evidence.sabotage import Sabotage
from jinku.model.topology import EDGE_HTTPS
from jinku.places import Places

#: Failures from one address, at most, before it is no longer listened to.
TRIES_OF_AN_ADDRESS = 50
ELSEWHERE = "203.0.113.77/32"  # a network for documentation: nobody's
CALL = b'{"id":0,"method":"common.server.version","params":[]}'
LOGIN = b'{"id":0,"method":"common.db.login","params":["nobody-of-that-name",{"password":"x"},"en"]}'
PROGRAMS = {
    "a program for Windows": (b"MZ\x90\x00" + bytes(60), "合同.pdf"),
    "a program for Linux": (b"\x7fELF\x02\x01" + bytes(60), "报价.docx"),
    "a script": (b"#!/bin/sh\nid\n", "notes.txt"),
    "a page with code": (b"<?php system($_GET['c']); ?>", "photo.jpg"),
    # As base64 that the CRM's decoder mends: it leaves out what is none.
    "a program behind a line break": ("\nTVqQAAMAAAAE", "合同.pdf"),
    "a program in two lines": ("T\nVqQAAMAAAAE", "合同.pdf"),
    "a program behind padding": ("=TVqQAAMAAAAE", "合同.pdf"),
    "a long program behind a line break": ("\nTVqQAAMAAAAE" + "QUJD" * 6000, "合同.pdf"),
    "a long program behind a blank": (" TVqQAAMAAAAE" + "QUJD" * 6000, "合同.pdf"),
    "a name that runs": (b"hello", "发票.pdf.exe"),
    "a name that runs, with a dot behind": (b"hello", "a.PHP."),
    "a page for the browser": (b"hello", "order.html"),
}


@pytest.fixture
def door(subject, topology, places: Places) -> Door:
    """The edge under test, or the first where the CRM is."""
    node = topology.node(subject.node)
    return Door.of(topology, places, node if "edge" in node.tiers else None)


@pytest.fixture
def database(fleet, topology):
    """The machine that holds the CRM's data."""
    return fleet.host(topology.nodes_of("postgres")[0].name)


def smuggled(door: Door) -> dict[str, bytes]:
    """Requests that two servers in a row may read differently, each with a second one inside."""
    name = door.name.encode()
    head = b"POST /crm/ HTTP/1.1\r\nHost: " + name + b"\r\nContent-Type: application/json\r\n"
    inner = b"GET /health HTTP/1.1\r\nHost: " + name + b"\r\n\r\n"
    chunked = b"0\r\n\r\n" + inner
    length = b"Content-Length: %d\r\n" % len(chunked)
    return {
        "length and chunks": head + length + b"Transfer-Encoding: chunked\r\n\r\n" + chunked,
        "chunks under a false name": head + length + b"Transfer-Encoding: xchunked\r\n\r\n" + chunked,
        "chunks behind a blank": head + length + b"Transfer-Encoding : chunked\r\n\r\n" + chunked,
        "chunks, twice": head + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n" + chunked,
        "two lengths": head + b"Content-Length: 5\r\nContent-Length: %d\r\n\r\n" % len(chunked) + chunked,
        "a negative length": head + b"Content-Length: -1\r\n\r\n" + inner,
        "a length with a sign": head + b"Content-Length: +0\r\n\r\n" + inner,
        "a chunk too long to count": head + b"Transfer-Encoding: chunked\r\n\r\n8000000000000000f\r\n" + inner,
        "a length under two names": head + b"Content_Length: 5\r\nContent-Length: %d\r\n\r\n" % len(CALL) + CALL,
        "a port under two names": head + b"X_Forwarded_Port: 99\r\nContent-Length: %d\r\n\r\n" % len(CALL) + CALL,
        "a header that takes the edge's away": head
        + b"Connection: close, X-Jinku-Login\r\nContent-Length: %d\r\n\r\n" % len(LOGIN)
        + LOGIN,
        "lines that end in LF": b"GET / HTTP/1.1\nHost: " + name + b"\n\n",
        "a NUL in a header": b"GET / HTTP/1.1\r\nHost: " + name + b"\r\nX-A: b\0c\r\n\r\n",
        "two hosts": b"GET / HTTP/1.1\r\nHost: " + name + b"\r\nHost: attacker.invalid\r\n\r\n",
        "no host": b"GET / HTTP/1.1\r\n\r\n",
        "HTTP/0.9": b"GET /\r\n",
        "another version": b"GET / HTTP/9.9\r\nHost: " + name + b"\r\nConnection: close\r\n\r\n",
        "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: " + name + b"\r\n\r\n",
        "another proxy's address": b"GET http://attacker.invalid/ HTTP/1.1\r\nHost: attacker.invalid\r\nConnection: close\r\n\r\n",
        "a method nobody knows": b"JEFF / HTTP/1.1\r\nHost: " + name + b"\r\nConnection: close\r\n\r\n",
    }


@pytest.mark.control("dengbao:8.1.3.3.a", "dengbao:8.1.3.2.e", "dengbao:8.1.4.4.d", "iso27001:A.8.20")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_requests_that_can_be_read_in_two_ways_are_refused(door, subject, observe):
    """Smuggled requests, broken ones and those of another protocol get one refusal, or none; a plain request is served.

    zh: 走私、畸形及非本协议的请求仅得到一次拒绝或被断开，正常请求可用。
    """
    plain = (
        b"GET / HTTP/1.1\r\nHost: "
        + door.name.encode()
        + b"\r\nAccept: */*\r\nUser-Agent: check\r\nConnection: close\r\n\r\n"
    )
    assert said(door, plain).statuses == (200,), "a plain request is not served, so a refusal would prove nothing"
    let_in = []
    for name, data in smuggled(door).items():
        began = time.time()
        # whatever waits for more is answered as soon as the connection is at its end
        answer = said(door, data)
        observe(subject.node, f"{name}: {data[:300]!r}", f"{answer.statuses} {answer.text[:80]!r}", began=began)
        if not answer.refused:
            let_in.append(f"{name} ({answer.statuses})")
    assert not let_in, f"let in: {', '.join(let_in)}"


@pytest.mark.control("dengbao:8.1.3.3.a", "dengbao:8.1.4.4.d", "iso27001:A.8.7")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_programs_are_not_taken_as_files(door, subject, observe):
    """An attachment that is a program, or is called as one, does not reach the CRM; a document with a Chinese name does.

    zh: 附件为可执行程序或以程序命名时被拒绝，正常文档可提交。
    """

    def sent(content: bytes | str, name: str) -> int:
        written = content if isinstance(content, str) else base64.b64encode(content).decode()
        values = {
            "name": name,
            "type": "data",
            "resource": "party.party,1",
            "data": {"__class__": "bytes", "base64": written},
        }
        call = {"id": 0, "method": "model.ir.attachment.create", "params": [[values], {}]}
        began = time.time()
        headers = {"Content-Type": "application/json", "Authorization": "Session YWRtaW46MTpzdGFsZQ=="}
        answer = door.request("POST", "/crm/", json.dumps(call).encode(), headers)
        observe(subject.node, f"attachment {name}: {content[:20]!r}", f"HTTP {answer.status}", began=began)
        return answer.status

    assert sent(b"%PDF-1.7 ...", "合同（终稿）.pdf") == 401, (
        "a document does not reach the CRM, so a refusal would prove nothing"
    )
    let_in = [what for what, (content, name) in PROGRAMS.items() if sent(content, name) != 403]
    assert not let_in, f"let in: {', '.join(let_in)}"


@pytest.mark.control("dengbao:8.1.3.3.a", "dengbao:8.1.4.4.d", "iso27001:A.8.26")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_attacks_within_a_long_request_are_refused(door, subject, observe):
    """Among 2,000 rows of an import, or beside a large file, an attack is found; ordinary rows pass, in no more than ten seconds.

    zh: 在两千行导入或大附件中夹带的攻击被发现，正常导入在十秒内通过。
    """

    def sent(what: str, cells: list[str], count: int) -> tuple[str, float]:
        rows = [
            [
                f"王{n:04d} 贸易有限公司",
                f"北京市朝阳区建国路 {n} 号; 3 层 (东)",
                "zh_CN",
                "+86 10 5550 0199",
                f"s{n}@example.cn",
            ]
            for n in range(count)
        ]
        for number, cell in enumerate(cells, count // 2):
            rows[number][0] = cell
        call = {"id": 0, "method": "model.party.party.import_data", "params": [["name"], rows, {}]}
        began = time.time()
        headers = {"Content-Type": "application/json", "Authorization": "Session YWRtaW46MTpzdGFsZQ=="}
        answer = door.request("POST", "/crm/", json.dumps(call, ensure_ascii=False).encode(), headers)
        # Without a valid session the CRM takes less; its own words show that the edge let it pass.
        by_crm = answer.status == 401 or b"data value transmitted exceeds" in answer.body
        said = "the CRM answers" if by_crm else f"HTTP {answer.status}"
        observe(subject.node, f"import of {count} rows, among them {what}: {cells}", said, began=began)
        return said, time.time() - began

    said, seconds = sent("ordinary texts", [*ORDINARY, *TEXTS], 2000)
    assert said == "the CRM answers", f"an ordinary import does not reach the CRM: {said}"
    assert seconds < 10, f"an import takes the rules {seconds:.0f} s"
    assert sent("an attack", [IN_A_FIELD["SQL injection"]], 2000)[0] == "HTTP 403", (
        "an attack among 2,000 rows is let in"
    )
    attacks = {**IN_A_FIELD, **ATTACKS}  # the fewest rows that are a long request: each attack costs little
    let_in = [what for what, cell in attacks.items() if sent(what, [cell], 300)[0] != "HTTP 403"]
    assert not let_in, f"let in: {', '.join(let_in)}"


@pytest.mark.control("dengbao:8.1.4.1.b", "dengbao:8.1.3.3.a", "iso27001:A.8.5")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_guesses_are_counted_for_an_address_too(host):
    """The CRM counts failed logins of an address, and its router gives logins some of the threads, not all.

    zh: 应用按来源地址统计登录失败次数；登录请求仅能占用部分处理能力。
    """
    assert 0 < int(setting(host, "session", "max_attempt_ip_network") or 300) <= TRIES_OF_AN_ADDRESS
    running = host.check_output(
        "tr '\\0' ' ' < /proc/$(systemctl show jinku-crm-router.service -p MainPID --value)/cmdline"
    )
    router = host.file(running.split("-f ")[1].split()[0]).content_string
    logins = router.partition("\nbackend logins\n")[2].partition("\nbackend ")[0]
    at_once = int(logins.partition("maxconn ")[2].split()[0] if "maxconn " in logins else 0)
    workers = host.file("/etc/jinku/crm/application.ini").content_string
    threads = [
        int(line.split("=")[1]) for line in workers.splitlines() if line.startswith(("processes =", "threads ="))
    ]
    assert 0 < at_once < math.prod(threads), f"logins may take {at_once or 'all'} of {math.prod(threads)} threads"


@pytest.mark.control("dengbao:8.1.4.1.b", "dengbao:8.1.3.3.a", "iso27001:A.8.5")
@pytest.mark.objects("application")
@pytest.mark.behaviour
def test_who_guesses_is_locked_out_and_nobody_else(door, database, subject, observe):
    """After too many failures an address is refused, under every name; other addresses are listened to, and no header helps.

    zh: 某来源地址失败次数过多后被拒绝（与账户无关），其他来源不受影响，伪造来源地址无效。
    """
    own = own_address(door)
    name = f"stuffing-{TOKEN}"

    def tried(**headers: str) -> int:
        call = {
            "id": 0,
            "method": "common.db.login",
            "params": [f"{name}-{time.monotonic_ns()}", {"password": "x"}, "en"],
        }
        sent = {"Content-Type": "application/json", **headers}
        answer = door.request("POST", "/crm/", json.dumps(call).encode(), sent)
        observe(subject.node, f"login of a new name from {own} {headers or ''}", f"HTTP {answer.status}")
        return answer.status

    def failed(network: str) -> None:
        of_the_crm(
            database,
            "insert into res_user_login_attempt (login, ip_network, create_date) select"
            f" '{name}', '{network}', current_timestamp at time zone 'UTC' from generate_series(0, {TRIES_OF_AN_ADDRESS}) -- {network}",
        )

    try:
        failed(ELSEWHERE)
        assert tried() == 401, "somebody else's guesses lock this address out"
        failed(own)
        assert tried() == 429, f"still listening after {TRIES_OF_AN_ADDRESS} failures from one address"
        forged = {"X-Forwarded-For": "198.51.100.9", "X-Real-IP": "198.51.100.9", "Forwarded": "for=198.51.100.9"}
        assert tried(**forged) == 429, "a header of the client's chooses the address that is counted"
    finally:
        of_the_crm(database, f"delete from res_user_login_attempt where login like '{name}%'")


def own_address(door: Door) -> str:
    """Own address, as the edge sees it, as the CRM keeps networks: a host in IPv4, a /56 in IPv6."""
    with socket.create_connection((door.address, EDGE_HTTPS.port), timeout=10) as plain:
        address = plain.getsockname()[0]
    return str(ipaddress.ip_network(f"{address}/{56 if ':' in address else 32}", strict=False))


@pytest.mark.control("dengbao:8.1.4.1.b", "dengbao:8.1.4.4.d", "iso27001:A.8.5")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_no_call_carries_a_password_past_the_login(door, subject, observe):
    """A name and password sent along with a call (Basic, Bearer), which would be a login that nobody counts, is refused.

    zh: 随调用附带口令（Basic 等）的请求在边界被拒绝，不能绕过登录失败计数。
    """
    headers = {"Content-Type": "application/json"}
    plain = door.request("POST", "/crm/", CALL, {**headers, "Authorization": "Session YWRtaW46MTpzdGFsZQ=="})
    assert plain.status == 401, "a session does not reach the CRM, so a refusal would prove nothing"
    for kind in (
        "Basic YWRtaW46YWRtaW4=",
        "basic YWRtaW46YWRtaW4=",
        "Bearer abc",
        "Session a,b=c",
        "Digest username=admin",
    ):
        answer = door.request("POST", "/crm/", CALL, {**headers, "Authorization": kind})
        observe(subject.node, f"a call with Authorization: {kind}", f"HTTP {answer.status}")
        assert answer.status == 403, f"{kind.split()[0]} is passed on: HTTP {answer.status}"


@pytest.mark.control("dengbao:8.1.4.1.b", "iso27001:A.8.5")
@pytest.mark.objects("edge")
@pytest.mark.setting
def test_the_edge_has_the_rules_that_keep_logins_countable(host):
    """In force at the edge: who sends a password with a call is refused, logins are told apart for the CRM's limit, connections that say nothing end.

    zh: 边界生效的规则：拒绝随调用附带口令，登录请求单独标识以便限制，空闲连接超时断开。
    """
    settings = edge_settings(host)
    text = "\n".join(settings)
    for number, what in (("1009", "a password beside the login is passed on"), ("1011", "logins are not told apart")):
        assert f'"id:{number},' in text, what
    removed = [
        line
        for line in settings
        if line.startswith(("SecRuleRemove", "SecRuleUpdate")) and {"1009", "1011"} & set(line.split())
    ]
    assert not removed, f"switched off: {removed}"
    assert any(line.startswith("RequestReadTimeout ") and "header=" in line for line in settings), (
        "whoever says nothing is waited for"
    )
    idle = [int(line.split()[1]) for line in settings if line.startswith("KeepAliveTimeout ")]
    assert idle, "idle connections have no limit"
    assert max(idle) <= IDLE_SECONDS, f"idle connections stay {idle} s"


SABOTAGE = (
    Sabotage(
        "broken requests are mended instead of refused",
        on="edge",
        breaks="sed -i.sabotage 's/^HttpProtocolOptions Strict/HttpProtocolOptions Unsafe/' /etc/apache2/apache2.conf"
        " && echo 'SecRuleEngine Off' > /etc/apache2/jinku.d/sabotage.conf && systemctl reload apache2 && sleep 1",
        mends="mv /etc/apache2/apache2.conf.sabotage /etc/apache2/apache2.conf; rm -f /etc/apache2/jinku.d/sabotage.conf"
        "; systemctl reload apache2 && sleep 1",
        kills=("test_requests_that_can_be_read_in_two_ways_are_refused",),
    ),
    Sabotage(
        "rules of ours are gone",
        on="edge",
        breaks="printf 'SecRuleRemoveById 1009 1012 1013 1018\\n' > /etc/apache2/jinku.d/sabotage.conf && systemctl reload apache2 && sleep 1",
        mends="rm -f /etc/apache2/jinku.d/sabotage.conf && systemctl reload apache2 && sleep 1",
        kills=(
            "test_programs_are_not_taken_as_files",
            "test_attacks_within_a_long_request_are_refused",
            "test_no_call_carries_a_password_past_the_login",
            "test_the_edge_has_the_rules_that_keep_logins_countable",
        ),
    ),
    Sabotage(
        "guesses are counted for names only",
        on="application",
        breaks="sed -i.sabotage 's/^max_attempt_ip_network.*/max_attempt_ip_network = 100000/' /etc/jinku/crm/trytond.conf"
        " && systemctl restart jinku-crm",
        mends="mv /etc/jinku/crm/trytond.conf.sabotage /etc/jinku/crm/trytond.conf && systemctl restart jinku-crm",
        kills=("test_guesses_are_counted_for_an_address_too", "test_who_guesses_is_locked_out_and_nobody_else"),
        settle=5.0,
    ),
)
