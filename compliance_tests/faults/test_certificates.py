# SPDX-License-Identifier: Apache-2.0
"""Certificates that have expired, and files that an operator brings: on real parts, by the product's own verbs. Runs with ``-m fault``."""

from __future__ import annotations

import base64
import datetime as dt
import secrets
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from crm_client import Door
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from testinfra.host import Host

from jinku.evidence.fleet import Fleet
from jinku.model import Topology
from jinku.pki import Authority
from jinku.places import Places

pytestmark = pytest.mark.fault
PROGRAM = "/usr/local/sbin/jinku-edge-certificate take"
FOLDER = "/run/brought"
ROOT = "/etc/jinku/identity/root.pem"
EXPIRED = dt.timedelta(days=-1)
END = "-----END CERTIFICATE-----\n"


@pytest.fixture
def edge(topology: Topology, fleet: Fleet) -> Host:
    """The first edge, as root."""
    return fleet.host(topology.nodes_of("edge")[0].name)


@pytest.fixture
def vault(topology: Topology, fleet: Fleet) -> Host:
    """The first vault, as root."""
    return fleet.host(topology.nodes_of("vault")[0].name)


def jinku(*words: str) -> subprocess.CompletedProcess[str]:
    """One verb of the product on this environment, as the operator runs it."""
    command = [str(Path(sys.executable).with_name("jinku")), *words]
    return subprocess.run(command, text=True, capture_output=True, check=False, timeout=900)


def converge(node: str, tag: str) -> str:
    """What `jinku up` does of one role on one host."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "site.yml", "--limit", node, "--tags", tag]
    where = Path(__file__).resolve().parents[2]
    return subprocess.run(command, cwd=where, text=True, capture_output=True, check=False, timeout=600).stdout


def signed(places: Places, of: str, *names: str, life: dt.timedelta = dt.timedelta(days=2), key: str = "") -> str:
    """A certificate (PEM) by the environment's root, for the public key of the certificate ``of`` (PEM), or of ``key`` (PEM)."""
    root = Authority(places.pki, "root")
    signer = serialization.load_pem_private_key(root.key_path.read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    old = x509.load_pem_x509_certificate(of.encode())
    public = serialization.load_pem_private_key(key.encode(), None).public_key() if key else old.public_key()
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(subject_name=old.subject, issuer_name=root.certificate.subject)
    builder = builder.public_key(public).serial_number(x509.random_serial_number())  # type: ignore[arg-type]
    builder = builder.not_valid_before(now - dt.timedelta(days=3)).not_valid_after(now + life)
    for extension in old.extensions:
        ours = not isinstance(extension.value, x509.AuthorityKeyIdentifier | x509.SubjectAlternativeName)
        if ours and not isinstance(extension.value, x509.SubjectKeyIdentifier | x509.AuthorityInformationAccess):
            builder = builder.add_extension(extension.value, extension.critical)
    general: x509.SubjectAlternativeName = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if names:
        general = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = builder.add_extension(general, critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.certificate.public_key())  # type: ignore[arg-type]
    builder = builder.add_extension(issuer, critical=False)
    return builder.sign(signer, hashes.SHA384()).public_bytes(serialization.Encoding.PEM).decode()


def put(host: Host, path: str, text: str, mode: str = "0600") -> None:
    """Write a file on a host, again when asked again: each command of a channel runs once."""
    data = base64.b64encode(text.encode()).decode()
    host.run_expect(
        [0],
        f"base64 -d > {path}.new && chmod {mode} {path}.new && mv {path}.new {path} # {secrets.token_hex(4)}",
        given=data,
    )


def first_of(chain: str) -> str:
    """The leaf of a chain (PEM)."""
    return chain.partition(END)[0] + END


def new_key() -> str:
    """A key (PEM, without a password)."""
    made = ec.generate_private_key(ec.SECP256R1())
    form, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return made.private_bytes(form, kind, serialization.NoEncryption()).decode()


def named_and_mended(node: str, service: str, tag: str) -> None:
    """`status` names the service whose certificate has expired, `check` finds the node nonconform, one role's run mends it."""
    told = jinku("status")
    assert told.returncode == 1
    assert f"certificate expired: {service}" in " ".join(told.stdout.split())
    judged = jinku("check", "--node", node)
    assert judged.returncode == 3, judged.stdout[-2000:]
    done = converge(node, tag)
    assert "failed=0" in done, done[-2000:]


def test_an_expired_certificate_of_the_edge_is_named_and_mended(
    topology: Topology, places: Places, edge: Host, door: Door
) -> None:
    """The leaf runs out: browsers refuse it, `status` and `check` name it, `up` brings a new one."""
    name = topology.nodes_of("edge")[0].name
    leaf = edge.check_output("cat /etc/jinku/tls/host.pem # before")
    over = signed(places, first_of(leaf), life=EXPIRED)
    edge.run_expect([0], "systemctl stop jinku-agent.service jinku-agent.path && rm -f /etc/jinku/tls/bundle.pem")
    put(edge, "/etc/jinku/tls/host.pem", over, "0644")
    edge.run_expect([0], "systemctl reload apache2 && sleep 2")
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        door.request("GET", "/")
    named_and_mended(name, "edge_https", "enrol")
    assert door.request("GET", "/").status == 200


def test_an_expired_certificate_of_the_vault_is_named_and_mended(
    topology: Topology, places: Places, vault: Host
) -> None:
    """The vault's own certificate runs out: nobody can log in, `status` names it, `up` has the root sign a new one."""
    name = topology.nodes_of("vault")[0].name
    served = vault.check_output("cat /etc/openbao/tls/server.pem # before")
    put(vault, "/etc/openbao/tls/server.pem.expired", signed(places, first_of(served), life=EXPIRED), "0644")
    vault.run_expect(
        [0],
        "cd /etc/openbao/tls && cat server.pem.expired > server.pem && rm server.pem.expired && systemctl reload openbao && sleep 2",
    )
    named_and_mended(name, "vault", "vault")
    assert "expired" not in jinku("status").stdout


@pytest.fixture
def brought(places: Places, edge: Host, door: Door) -> Iterator[tuple[Host, str, str]]:
    """The edge's program set to `certificate: files` in a folder of its own, with a sound certificate taken over: host, certificate, key."""
    leaf = edge.check_output("cat /etc/jinku/tls/host.pem # for files")
    key = new_key()
    good = signed(places, first_of(leaf), door.name, key=key)
    edge.run_expect(
        [0],
        f"rm -rf {FOLDER} && mkdir -m 0700 {FOLDER} {FOLDER}/state && cp /etc/jinku/edge/certificate.json {FOLDER}/state/ && "
        f"cp {ROOT} {FOLDER}/state/authorities.pem && cd {FOLDER}/state && "
        f'sed -i \'s#"source": "[a-z]*"#"source": "files"#; s#"files": null#"files": "{FOLDER}"#; '
        's#"authorities": false#"authorities": true#\' certificate.json',
    )
    put(edge, f"{FOLDER}/fullchain.pem", good, "0644")
    put(edge, f"{FOLDER}/privkey.pem", key)
    edge.run_expect([0], f"JINKU_EDGE={FOLDER}/state {PROGRAM} # sound")
    yield edge, good, key
    edge.run_expect([0], f"rm -rf {FOLDER}")


def test_brought_files_that_are_not_sound_are_refused_in_words(
    brought: tuple[Host, str, str], places: Places, door: Door
) -> None:
    """Missing, mismatching, expired, for another name, of a stranger: each is named, and the copy of before stays as it was."""
    edge, good, key = brought
    copy = f"sha256sum {FOLDER}/state/users.pem {FOLDER}/state/users.key"
    before = edge.check_output(f"{copy} # before")
    tries = (
        ("privkey.pem", None, "privkey.pem: is not there"),
        ("privkey.pem", new_key(), "is not the key of the certificate"),
        ("privkey.pem", "nonsense\n", "is no key that can be read"),
        ("fullchain.pem", "nonsense\n", "is no certificate in PEM"),
        ("fullchain.pem", signed(places, good, door.name, life=EXPIRED, key=key), "has expired on"),
        ("fullchain.pem", signed(places, good, "other.invalid", key=key), f"does not name {door.name}"),
    )
    for number, (file, text, words) in enumerate(tries):
        if text is None:
            edge.run_expect([0], f"rm {FOLDER}/{file} # {number}")
        else:
            put(edge, f"{FOLDER}/{file}", text)
        said = edge.run(f"JINKU_EDGE={FOLDER}/state {PROGRAM} # {number}")
        assert said.rc == 1, said.stdout
        assert words in said.stderr, said.stderr
        assert "goes on serving" in said.stderr
        assert edge.check_output(f"{copy} # {number}") == before
        put(edge, f"{FOLDER}/fullchain.pem", good, "0644")
        put(edge, f"{FOLDER}/privkey.pem", key)
    assert edge.run(f"JINKU_EDGE={FOLDER}/state {PROGRAM} # again").rc == 0
