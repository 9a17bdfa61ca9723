# SPDX-License-Identifier: Apache-2.0
"""Whatever waits for others speaks TLS or SSH: each listener of each node is found and asked."""

import base64
import json
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from asking import SERVER_SAYS_NO, ask, listeners, tcp_probe
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from faults.sweep import DANGEROUS

from jinku.evidence.sabotage import Sabotage
from jinku.model.topology import SERVICES

AEAD = ("GCM", "CHACHA20", "CCM")
SMALLEST_RSA = 2048


def spoken(host, subject, topology):
    """How each TCP listener of the node speaks, by address and port; a router has none of its own."""
    own = [str(address) for address in topology.node(subject.node).addresses] if subject.zone else []
    words = set()
    for protocol, address, port in listeners(host):
        if protocol == "tcp":
            every = [one for one in own if address in ("0.0.0.0", "*") or (":" in one) == (":" in address)]  # noqa: S104 - read, not bound
            words |= {f"{one},{port}" for one in (every if address in ("0.0.0.0", "::", "*") else [address])}  # noqa: S104
    return json.loads(ask(host, "listener_probe.py", *sorted(words), timeout=30)) if words else {}


@pytest.mark.control(
    "dengbao:8.1.2.2.a", "dengbao:8.1.2.2.b", "dengbao:8.1.4.7.a", "dengbao:8.1.4.8.a", "iso27001:A.8.24"
)
@pytest.mark.objects("network", "edge", "application", "log")
@pytest.mark.setting
def test_each_listener_shows_a_sound_certificate(host, subject, topology, places):
    """Each TLS listener's certificate names the node, is in force, has a strong key, and is signed by the environment's CA.

    zh: 每个 TLS 监听端口的证书均含节点名称、在有效期内、密钥强度足够，并由本环境 CA 签发。
    """
    bundle = x509.load_pem_x509_certificates((places.pki / "root.pem").read_bytes()) if subject.zone else []
    node = topology.node(subject.node) if subject.zone else None
    inside = x509.load_pem_x509_certificates(host.file("/etc/jinku/tls/ca.pem").content) if subject.zone else []
    signers = {one.subject for one in (*bundle, *inside)}
    for where, found in spoken(host, subject, topology).items():
        assert found["speaks"] != "clear", f"{where}: no certificate: it speaks in clear ({found['answer']!r})"
        if found["speaks"] != "tls":
            continue
        shown = x509.load_der_x509_certificate(base64.b64decode(found["certificate"]))
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert {node.fqdn, *node.aliases} & set(names.get_values_for_type(x509.DNSName)), (
            f"{where}: the certificate names another"
        )
        assert shown.not_valid_before_utc <= datetime.now(UTC) <= shown.not_valid_after_utc, (
            f"{where}: the certificate is not in force"
        )
        key = shown.public_key()
        strong = isinstance(key, ec.EllipticCurvePublicKey) or (
            isinstance(key, rsa.RSAPublicKey) and key.key_size >= SMALLEST_RSA
        )
        assert strong, f"{where}: the key is weak"
        external = "edge" in node.tiers and topology.env.edge.certificate != "inside" and where.endswith(",443")
        assert shown.issuer in signers or external, f"{where}: signed by {shown.issuer.rfc4514_string()}"
        if any(inside_one.subject == shown.issuer for inside_one in inside):
            shown.verify_directly_issued_by(next(one for one in inside if one.subject == shown.issuer))


@pytest.mark.control(
    "dengbao:8.1.2.2.a", "dengbao:8.1.2.2.b", "dengbao:8.1.4.7.a", "dengbao:8.1.4.8.a", "iso27001:A.8.24"
)
@pytest.mark.objects("network", "edge", "application", "log")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_each_listener_speaks_tls_or_ssh_only(host, subject, topology):
    """Asked in clear, with TLS 1.1 and with TLS 1.2: only the last gets an answer, by authenticated encryption (port 80 points to 443).

    zh: 逐一以明文、TLS 1.1、TLS 1.2 以上尝试：仅后者得到应答且使用 AEAD 套件（80 端口仅重定向）。
    """
    found = spoken(host, subject, topology)
    assert found or not subject.zone, "nothing listens, not even ssh, so the test proves nothing"
    for where, seen in found.items():
        assert seen["speaks"] != "clear", f"{where} answers in clear: {seen['answer']!r}"
        assert seen["speaks"] != "redirect" or where.endswith(f",{SERVICES['edge_http'].port}"), (
            f"{where} is a redirect"
        )
        if seen["speaks"] == "tls":
            assert any(word in seen["suite"] for word in AEAD), f"{where}: {seen['suite']}"
            assert seen["old"].removeprefix("refused: ") in SERVER_SAYS_NO, f"{where}, TLS 1.1: {seen['old']}"
            assert "200 OK" not in seen["answer"], f"{where} answers a request in clear: {seen['answer']!r}"
    assert all(ip_address(where.rpartition(",")[0]) for where in found)


@pytest.mark.control("dengbao:8.1.4.4.b", "iso27001:A.8.9")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_what_listens_is_declared(host, subject, topology):
    """Every socket that waits for others, on any address but loopback, is a declared service of the node's tiers.

    zh: 除回环外的每个监听端口都是该节点所在层声明的服务。
    """
    node = topology.node(subject.node)
    declared = {
        (service.protocol, service.port)
        for service in SERVICES.values()
        if service.where == "hosts" or service.where in node.tiers
    }
    strange = [
        f"{program or '?'} on {address}:{port}/{protocol}"
        for (protocol, address, port), program in listeners(host).items()
        if (protocol, port) not in declared
    ]
    assert not strange, f"undeclared: {', '.join(strange)}"


@pytest.mark.control("dengbao:8.1.4.4.b", "iso27001:A.8.9")
@pytest.mark.objects("host")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_dangerous_ports_are_closed(host, subject, topology):
    """File shares, remote desktops, clear-text logins and open data stores: tried from the host itself, past its filter.

    zh: 从主机自身（绕过过滤）尝试共享、远程桌面、明文登录与无口令数据服务端口，均已关闭。
    """
    node = topology.node(subject.node)
    answers = tcp_probe(host, [(str(address), port) for address in node.addresses for port in (*DANGEROUS, 22)])
    opened = [f"{address}:{port}" for (address, port), said in answers.items() if said == "open" and port != 22]
    assert not opened, f"open: {', '.join(opened)}"
    assert all(answers[str(address), 22] == "open" for address in node.addresses), (
        "not even ssh answers, so closed proves nothing"
    )


SABOTAGE = (
    Sabotage(
        "a service that speaks in clear",
        on="network",
        breaks="systemd-run -q --unit sabotage-clear python3 -m http.server 8080 --bind ::",
        mends="systemctl stop sabotage-clear",
        kills=("test_each_listener_shows_a_sound_certificate", "test_each_listener_speaks_tls_or_ssh_only"),
        settle=1.0,
    ),
    Sabotage(
        "a telnet port that nobody declared",
        on="host",
        breaks="systemd-run -q --unit sabotage-telnet python3 -m http.server 23 --bind ::",
        mends="systemctl stop sabotage-telnet",
        kills=("test_what_listens_is_declared", "test_dangerous_ports_are_closed"),
        settle=1.0,
    ),
)
