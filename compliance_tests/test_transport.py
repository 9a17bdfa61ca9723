# SPDX-License-Identifier: Apache-2.0
"""Nothing travels in clear: TLS profile, refusals of weak offers, and a canary that no wire may show."""

import dataclasses
import http.client
import json
import secrets
import socket
import ssl
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from apache_settings import edge_settings, said
from asking import SERVER_SAYS_NO, ask
from crm_client import Door
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from jinku.evidence.sabotage import Sabotage
from jinku.model.topology import SERVICES

WEAK_SUITES = (
    "AES128-SHA",
    "AES256-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "AES256-GCM-SHA384",
    "NULL-SHA256",
)
SNIFF_SECONDS = 15  # at most


def outside(topology, node: str, places) -> Door:
    """The edge ``node`` as a browser reaches it."""
    return Door.of(topology, places, topology.node(node))


def handshake(door: Door, version: ssl.TLSVersion, suites: str = "ALL:@SECLEVEL=0", verify: bool = False) -> str:
    """Offer one TLS version and these suites; what came of it: "TLSv1.3 SUITE", or "refused: REASON"."""
    context = door.context()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(suites)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are asked for on purpose
        context.minimum_version = context.maximum_version = version
    with socket.create_connection((door.address, door.port), timeout=10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=door.name) as wrapped:
                return f"{wrapped.version()} {(wrapped.cipher() or ('?',))[0]}"
        except ssl.SSLError as error:
            return f"refused: {error.reason}"
        except ConnectionResetError:
            return "refused: UNEXPECTED_EOF_WHILE_READING"


@pytest.mark.control(
    "dengbao:8.1.2.2.b",
    "dengbao:8.1.4.8.a",
    "dengbao:8.1.2.2.a",
    "dengbao:8.1.4.7.a",
    "dengbao:8.1.4.1.c",
    "iso27001:A.8.24",
)
@pytest.mark.objects("edge")
@pytest.mark.setting
def test_the_edge_speaks_modern_tls_on_both_legs(host):
    """Towards browsers and towards the CRM: TLS 1.2 and 1.3 with authenticated encryption; the CRM's certificate and name are checked.

    zh: 面向浏览器与后端两段均仅启用 TLS 1.2/1.3 及 AEAD 套件，并校验后端证书与名称。
    """
    settings = edge_settings(host)
    for leg in ("SSL", "SSLProxy"):
        protocols = set(said(settings, f"{leg}Protocol"))
        assert protocols == {"-all +TLSv1.2 +TLSv1.3"}, f"{leg}Protocol: {sorted(protocols)}"
        for line in said(settings, f"{leg}CipherSuite"):
            weak = [
                suite
                for suite in line.split()[-1].split(":")
                if not suite.endswith(("SHA384", "POLY1305", "POLY1305_SHA256"))
            ]
            assert not weak, f"{leg}CipherSuite {line}: {weak}"
    # Past those two OpenSSL itself takes settings.
    more = [line for line in said(settings, "SSLOpenSSLConfCmd") if not line.startswith("Groups ")]
    assert not more, f"SSLOpenSSLConfCmd {more}"
    # Everywhere: what a section of its own says would hold there.
    for name, wanted in (
        ("SSLProxyVerify", "require"),
        ("SSLProxyCheckPeerName", "On"),
        ("SSLProxyCheckPeerExpire", "On"),
    ):
        assert set(said(settings, name)) == {wanted}, f"{name}: {said(settings, name)}"
    ways = [line for name in ("ProxyPass", "ProxyPassMatch", "BalancerMember") for line in said(settings, name)]
    assert ways, "nothing leads to the CRM"
    assert not [line for line in ways if "http://" in line.lower()], f"in clear: {ways}"


@pytest.mark.control(
    "dengbao:8.1.2.2.b", "dengbao:8.1.2.2.a", "dengbao:8.1.4.7.a", "dengbao:8.1.4.1.c", "iso27001:A.8.24"
)
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_weak_tls_is_refused_by_the_edge(topology, places, subject, observe):
    """TLS 1.0 and 1.1 and suites without forward secrecy or authenticated encryption get no connection; 1.2 and 1.3 do, verified.

    zh: TLS 1.0/1.1 及弱套件握手被拒绝，TLS 1.2/1.3 可建立且证书可验证。
    """
    node = topology.node(subject.node)
    for address in filter(None, (node.address, node.address6)):
        door = dataclasses.replace(outside(topology, subject.node, places), address=str(address))

        def tried(
            version: ssl.TLSVersion, suites: str = "ALL:@SECLEVEL=0", verify: bool = False, door: Door = door
        ) -> str:
            answer = handshake(door, version, suites, verify)
            observe(
                subject.node, f"TLS handshake with {door.address} port {door.port}: {version.name}, {suites}", answer
            )
            return answer

        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            taken = tried(version, verify=True)
            assert not taken.startswith("refused"), f"{version.name} is refused, so the rest would prove nothing"
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            answer = tried(version)
            assert answer.removeprefix("refused: ") in SERVER_SAYS_NO, f"{version.name}: {answer}"
        for suite in WEAK_SUITES:
            answer = tried(ssl.TLSVersion.TLSv1_2, f"{suite}:@SECLEVEL=0")
            assert answer.removeprefix("refused: ") in SERVER_SAYS_NO, f"{suite}: {answer}"


@pytest.mark.control("dengbao:8.1.2.2.b", "dengbao:8.1.4.8.a", "dengbao:8.1.4.1.c", "iso27001:A.8.24")
@pytest.mark.objects("edge")
@pytest.mark.behaviour
def test_plain_http_only_points_to_https(topology, places, subject, observe):
    """A request without TLS gets a redirection and nothing else, no cookie and no page; browsers are told to remember it.

    zh: 明文 HTTP 仅返回跳转，不返回内容与 Cookie；HSTS 已启用。
    """
    door = outside(topology, subject.node, places)
    for method, path in (("GET", "/"), ("POST", "/crm/")):
        plain = http.client.HTTPConnection(door.address, SERVICES["edge_http"].port, timeout=10)
        plain.request(method, path, body=b"{}" if method == "POST" else None, headers={"Host": door.name})
        answer = plain.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        observe(subject.node, f"{method} http://{door.name}{path}", f"HTTP {answer.status}\n{headers}")
        plain.close()
        assert answer.status == 301
        assert headers["location"] == f"https://{door.name}{path}"
        assert "set-cookie" not in headers
    strict = door.request("GET", "/").headers.get("strict-transport-security", "none")
    observe(subject.node, f"GET https://{door.name}/", f"Strict-Transport-Security: {strict}")
    assert int(strict.partition("max-age=")[2].partition(";")[0] or 0) >= 15_552_000, f"HSTS: {strict}"


@pytest.mark.control("dengbao:8.1.4.8.a", "dengbao:8.1.2.2.b", "iso27001:A.8.24")
@pytest.mark.objects("edge", "application")
@pytest.mark.behaviour
def test_a_canary_is_seen_on_no_wire(host, topology, places, subject, observe):
    """A name typed at a login is sought in all packets of this host: browser to edge, edge to CRM, CRM to database.

    zh: 登录时输入的标记字符串在浏览器—边界—应用—数据库各段报文中均不可见。
    """
    canary = "canary" + secrets.token_hex(12)
    tier = "edge" if subject.object_class == "edge" else "crm"
    legs = ("edge_https", "crm") if tier == "edge" else ("crm", "postgres")
    plain = SERVICES["edge_http"].port
    door = outside(topology, topology.nodes_of("edge")[0].name if tier == "crm" else subject.node, places)
    watched = [str(SERVICES[name].port) for name in legs] + [str(plain)]
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(ask, host, "sniff.py", str(SNIFF_SECONDS), canary, *watched)
        time.sleep(0.8)  # the watcher starts
        if tier == "edge":  # the same word in clear, so that a blind watcher is found out
            clear = http.client.HTTPConnection(door.address, plain, timeout=10)
            clear.request("GET", f"/{canary}", headers={"Host": door.name})
            clear.getresponse().read()
            clear.close()
        call = {"id": 0, "method": "common.db.login", "params": [canary, {"password": canary}, "en"]}
        answer = door.request("POST", "/crm/", json.dumps(call).encode(), {"Content-Type": "application/json"})
        time.sleep(0.2)
        host.run(f"touch /run/{canary}")
        observe(subject.node, f"login as {canary} at https://{door.name}", f"HTTP {answer.status}")
        seen = {
            int(port): (int(packets), int(hits))
            for port, packets, _, hits in (line.split() for line in watching.result().splitlines())
        }
    for name in legs:
        packets, hits = seen[SERVICES[name].port]
        assert packets > 0, f"no packet of {name} was seen, so nothing is proven"
        assert hits == 0, f"{name}: the canary is readable in {hits} packets"
    if tier == "edge":
        assert seen[plain][1] > 0, "the watcher did not even see the word in clear, so nothing is proven"


@pytest.mark.control("dengbao:8.1.4.1.c", "iso27001:A.8.24")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_the_host_believes_in_our_authorities_only(host, places):
    """Every authority that the host's services take certificates of is our root, or was signed by it.

    zh: 主机各服务信任的证书颁发机构均为本环境的根，或由该根直接签发。
    """
    root = x509.load_pem_x509_certificate((places.pki / "root.pem").read_bytes())
    for file in ("/etc/jinku/tls/ca.pem", "/etc/jinku/identity/root.pem"):
        for authority in x509.load_pem_x509_certificates(host.file(file).content):
            try:
                authority.verify_directly_issued_by(root)
            except (ValueError, TypeError, InvalidSignature):
                raise AssertionError(f"{file}: also believes in {authority.subject.rfc4514_string()}") from None


SABOTAGE = (
    Sabotage(
        "the host's services believe in another authority, too",
        on="host",
        breaks="cp -a /etc/jinku/tls/ca.pem /run/sabotage.ca && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        " -subj /CN=sabotage -days 1 -keyout /dev/null 2>/dev/null >> /etc/jinku/tls/ca.pem",
        mends="cat /run/sabotage.ca > /etc/jinku/tls/ca.pem && rm /run/sabotage.ca",
        kills=("test_the_host_believes_in_our_authorities_only",),
    ),
    Sabotage(
        "the edge takes TLS 1.1 and weak suites",
        on="edge",
        breaks="sed -i.sabotage 's/^SSLProtocol .*/SSLProtocol all -SSLv3/; s/^SSLCipherSuite ECDHE.*/SSLCipherSuite ALL:@SECLEVEL=0/'"
        " /etc/apache2/jinku/tls.conf && systemctl restart apache2",
        mends="mv /etc/apache2/jinku/tls.conf.sabotage /etc/apache2/jinku/tls.conf && systemctl restart apache2",
        kills=("test_the_edge_speaks_modern_tls_on_both_legs", "test_weak_tls_is_refused_by_the_edge"),
    ),
    Sabotage(
        "the CRM's certificate is looked at no more, by a section of its own",
        on="edge",
        breaks="printf '<Proxy https://sabotage.invalid/>\\nsslproxyverify none\\n</Proxy>\\n' > /etc/apache2/jinku.d/sabotage.conf"
        " && systemctl reload apache2 && sleep 1",
        mends="rm -f /etc/apache2/jinku.d/sabotage.conf && systemctl reload apache2 && sleep 1",
        kills=("test_the_edge_speaks_modern_tls_on_both_legs",),
    ),
    Sabotage(
        "browsers are no longer told to come by HTTPS only",
        on="edge",
        breaks="sed -i.sabotage '/Strict-Transport-Security/d' /etc/apache2/jinku/site.conf && systemctl reload apache2 && sleep 1",
        mends="mv /etc/apache2/jinku/site.conf.sabotage /etc/apache2/jinku/site.conf && systemctl reload apache2 && sleep 1",
        kills=("test_plain_http_only_points_to_https",),
    ),
    Sabotage(
        "the CRM is served in clear on port 80",
        on="edge",
        breaks="sed -i.sabotage '0,/Redirect permanent.*/s//Redirect 204 \\//' /etc/apache2/jinku/site.conf && systemctl reload apache2"
        " && sleep 1",
        mends="mv /etc/apache2/jinku/site.conf.sabotage /etc/apache2/jinku/site.conf && systemctl reload apache2 && sleep 1",
        kills=("test_plain_http_only_points_to_https",),
    ),
    Sabotage(
        "the edge talks to the CRM in clear",
        on="edge",
        breaks="sed -i.sabotage 's#BalancerMember https://#BalancerMember http://#' /etc/apache2/jinku/site.conf && systemctl restart apache2",
        mends="mv /etc/apache2/jinku/site.conf.sabotage /etc/apache2/jinku/site.conf && systemctl restart apache2",
        kills=("test_the_edge_speaks_modern_tls_on_both_legs", "test_a_canary_is_seen_on_no_wire"),
    ),
)
