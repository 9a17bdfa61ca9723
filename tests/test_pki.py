# SPDX-License-Identifier: Apache-2.0
"""The authorities outside OpenBao: made once, private, and deaf to what a request asks for."""

import datetime as dt
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jinku.escrow import ensure_escrow
from jinku.pki import Authority, PkiError, certifies, ensure_operators, ensure_root, remaining_days
from jinku.places import Places


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path))
    return Places("test")


def request(names: list[str]) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    csr = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM)


def test_a_second_call_keeps_the_authority(places: Places) -> None:
    first = ensure_root(places).certificate_path.read_bytes()
    assert ensure_root(places).certificate_path.read_bytes() == first


def test_the_escrow_s_key_is_private_and_never_replaced(places: Places) -> None:
    escrow = ensure_escrow(places)
    key = escrow.key_path.read_bytes()
    assert escrow.key_path.stat().st_mode & 0o777 == 0o600
    escrow.certificate_path.unlink()
    ensure_escrow(places)
    assert escrow.key_path.read_bytes() == key
    certificate = x509.load_pem_x509_certificate(escrow.certificate_path.read_bytes())
    assert certificate.public_key() == serialization.load_pem_private_key(key, None).public_key()


def test_the_key_is_private(places: Places) -> None:
    root = ensure_root(places)
    assert root.key_path.stat().st_mode & 0o777 == 0o600
    assert root.folder.stat().st_mode & 0o777 == 0o700


def test_a_run_killed_between_key_and_certificate_is_finished(places: Places) -> None:
    root = ensure_root(places)
    key = root.key_path.read_bytes()
    root.certificate_path.unlink()
    assert ensure_root(places).certificate.public_key() == serialization.load_pem_private_key(key, None).public_key()


def test_a_request_cannot_ask_for_another_name(places: Places) -> None:
    """A host that is broken into could otherwise have itself certified as any other."""
    pem = ensure_root(places).sign_server(request(["db.evil.test"]), ["vault.x.test"], ["10.0.0.1", "fd00::1"], 90)
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["vault.x.test"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("10.0.0.1"), ip_address("fd00::1")]
    assert 89 < remaining_days(pem) < 91


def test_an_offline_root_says_what_is_to_be_done(places: Places) -> None:
    root = ensure_root(places)
    root.key_path.unlink()
    assert ensure_root(places).certificate_path.exists()
    with pytest.raises(PkiError, match=r"root\.key: the key is not here; bring it back"):
        root.sign_server(request(["a.test"]), ["a.test"], [], 1)


def test_an_intermediate_signs_leaves_only(places: Places) -> None:
    root = ensure_root(places)
    certificate = x509.load_pem_x509_certificate(root.sign_intermediate(request([]), "Jinku inside test", 10))
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    certificate.verify_directly_issued_by(root.certificate)


def test_an_operator_gets_an_hour(places: Places) -> None:
    pem, key = ensure_operators(places).mint_operator("li.wei", "manager")
    certificate = x509.load_pem_x509_certificate(pem)
    left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    assert dt.timedelta(minutes=58) < left <= dt.timedelta(minutes=60)
    assert "OU=manager" in certificate.subject.rfc4514_string()
    assert serialization.load_pem_private_key(key, None).public_key() == certificate.public_key()


def test_strict_verifiers_take_the_chain(places: Places) -> None:
    """Python 3.13 turns on strict X.509 checks: an authority without keyUsage fails there, so try the same flag."""
    context = ssl.create_default_context(cafile=str(ensure_root(places).certificate_path))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert context.cert_store_stats()["x509_ca"] == 1


def test_a_certificate_that_no_longer_does_is_told(places: Places, tmp_path: Path) -> None:
    """Other names, another key, another root, or too near its end: the vault then gets a new one at the next run."""
    root, csr = ensure_root(places), request([])
    names, addresses = ["vault.x.test"], ["10.0.0.1", "fd00::1"]
    good = root.sign_server(csr, names, addresses, 90).decode()

    def holds(
        certificate: str = good, request: str = csr.decode(), authority: Authority = root, days: float = 30
    ) -> bool:
        return certifies(certificate, request, authority, names=names, addresses=addresses, days=days)

    assert holds()
    assert not holds(certificate="")
    assert not holds(certificate=good[: len(good) // 2])
    assert not holds(days=120)
    assert not holds(request=request_of_another())
    assert not holds(certificate=root.sign_server(csr, ["db.x.test"], addresses, 90).decode())
    assert not holds(certificate=root.sign_server(csr, names, addresses[:1], 90).decode())
    assert not holds(authority=Authority(tmp_path / "other", "root").ensure("Another", 1, 1))


def request_of_another() -> str:
    return request([]).decode()


@pytest.mark.parametrize(("ensure", "name"), [(ensure_root, "root"), (ensure_operators, "operators")])
def test_a_lost_authority_is_not_replaced_in_silence(
    places: Places, ensure: Callable[[Places], Authority], name: str
) -> None:
    """Hosts and vault believe in the old one: with a new one nobody could log in, and nothing would say why."""
    lost = ensure(places)
    places.make()
    (places.vault / "recovery.json").write_text("{}")
    lost.certificate_path.unlink()
    lost.key_path.unlink()
    with pytest.raises(PkiError, match=f"{name}.pem: is gone"):
        ensure(places)
    assert not lost.key_path.exists()
    (places.vault / "recovery.json").unlink()
    assert ensure(places).certificate_path.exists()
