# SPDX-License-Identifier: Apache-2.0
"""The two authorities that live outside OpenBao: the root and the operators' authority, in <state>/pki.

The root signs two things only: the vault's own first certificate and the intermediate that lives inside OpenBao. So
its key may be carried away (`root.key` moved to a medium in a safe): whatever needs it then says so. The operators'
authority signs certificates of one hour, with which a person at the controller logs in to OpenBao.
"""

import datetime as dt
import os
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from filelock import FileLock

from jinku.places import Places

__all__ = [
    "Authority",
    "PkiError",
    "certifies",
    "ensure_operators",
    "ensure_root",
    "remaining_days",
    "write_key_file",
]

_CLOCK_SKEW = dt.timedelta(minutes=5)
_USAGES = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


class PkiError(Exception):
    """An authority is incomplete, or its key is kept elsewhere."""


def write_key_file(path: Path, data: bytes, mode: int) -> None:
    """Write `path` whole or not at all; the mode holds from the first byte on."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    scratch.rename(path)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _names(common_name: str, unit: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Jinku")]
    if unit:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def remaining_days(certificate: bytes) -> float:
    """Return how many days the (first) certificate of a PEM text is still valid; negative when it is over."""
    end = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    return (end - dt.datetime.now(dt.UTC)) / dt.timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A certificate authority in two files, `<name>.key` (0600) and `<name>.pem`, in `folder` (0700)."""

    folder: Path
    name: str

    @property
    def certificate_path(self) -> Path:
        """Path of the authority's own certificate, PEM."""
        return self.folder / f"{self.name}.pem"

    @property
    def key_path(self) -> Path:
        """Path of the authority's key, PEM (PKCS 8); absent while it is kept offline."""
        return self.folder / f"{self.name}.key"

    @property
    def certificate(self) -> x509.Certificate:
        """The authority's own certificate."""
        return x509.load_pem_x509_certificate(self.certificate_path.read_bytes())

    def _key(self) -> ec.EllipticCurvePrivateKey:
        if not self.key_path.exists():
            raise PkiError(
                f"{self.key_path}: the key is not here; bring it back from where it is kept offline, for now"
            )
        key = serialization.load_pem_private_key(self.key_path.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PkiError(f"{self.key_path}: not an elliptic curve key; the key that belongs to {self.name}.pem")
        return key

    def ensure(self, common_name: str, years: int, path_length: int) -> "Authority":
        """Make key and certificate where they are missing, and return self; what is there is never replaced.

        A run that was killed between the two files is finished: the certificate is made for the key that is there.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(self.folder / ".lock"):
            if self.certificate_path.exists():
                return self
            if not self.key_path.exists():
                write_key_file(self.key_path, _key_pem(ec.generate_private_key(ec.SECP384R1())), 0o600)
            key = self._key()
            builder = self._builder(_names(common_name), key.public_key(), dt.timedelta(days=365 * years))
            builder = builder.issuer_name(_names(common_name))
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            builder = builder.add_extension(_usage(authority=True), critical=True)
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
            )
            certificate = builder.sign(key, hashes.SHA384())
            write_key_file(self.certificate_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        return self

    @staticmethod
    def _builder(
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey,
        life: dt.timedelta,
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + life)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> bytes:
        issuer = self.certificate
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = builder.issuer_name(issuer.subject)
        # Python 3.13 refuses a leaf without the authority's key identifier
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        return builder.sign(self._key(), hashes.SHA384()).public_bytes(serialization.Encoding.PEM)

    @staticmethod
    def _requested(csr: bytes) -> ec.EllipticCurvePublicKey:
        request = x509.load_pem_x509_csr(csr)
        key = request.public_key()
        if not request.is_signature_valid:
            raise PkiError("certificate request: its signature does not hold; a request made by the key's owner")
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise PkiError("certificate request: not an elliptic curve key; one on P-256 or P-384")
        return key

    def sign_server(self, csr: bytes, names: Iterable[str], addresses: Iterable[str], days: int) -> bytes:
        """Return a server's certificate (PEM) for the key in `csr` (PEM), valid for `days`.

        Names (DNS) and addresses (IPv4, IPv6 as text) come from the topology; whatever the request asks for beyond
        its key is ignored, so a host cannot ask for another's name. Raises PkiError while the key is offline.
        """
        names = list(names)
        key = self._requested(csr)
        found: list[IPv4Address | IPv6Address] = [ip_address(address) for address in addresses]
        general = [*(x509.DNSName(name) for name in names), *(x509.IPAddress(address) for address in found)]
        builder = self._builder(_names(names[0]), key, dt.timedelta(days=days))
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(authority=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(_USAGES), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
        return self._sign(builder)

    def sign_intermediate(self, csr: bytes, common_name: str, years: int) -> bytes:
        """Return the certificate (PEM) of an intermediate authority that signs leaves only, for the key in `csr`."""
        key = self._requested(csr)
        life = min(dt.timedelta(days=365 * years), dt.timedelta(days=remaining_days(self._pem()) - 1))
        builder = self._builder(_names(common_name), key, life)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(authority=True), critical=True)
        return self._sign(builder)

    def _pem(self) -> bytes:
        return self.certificate_path.read_bytes()

    def sign_person(
        self,
        name: str,
        fingerprint: str,
        key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey,
        minutes: int,
    ) -> bytes:
        """Return a certificate (PEM) with which `name` logs in to OpenBao with `key`, the person's own SSH key.

        Its organizational unit is the key's `fingerprint`: OpenBao knows which keys a person has now.
        """
        builder = self._builder(_names(name, fingerprint), key, dt.timedelta(minutes=minutes))
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(authority=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        return self._sign(builder)

    def mint_operator(self, operator: str, duty: str, minutes: int = 60) -> tuple[bytes, bytes]:
        """Return (certificate, key), both PEM, with which `operator` logs in to OpenBao for the next `minutes`.

        The duty is the certificate's organizational unit: OpenBao's roles for people are bound to it.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_names(operator, duty), key.public_key(), dt.timedelta(minutes=minutes))
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(authority=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        return self._sign(builder), _key_pem(key)


def _not_lost(places: Places, name: str) -> None:
    """:raises PkiError: neither file of the authority is here, and the vault was set up under it."""
    authority = Authority(places.pki, name)
    gone = not authority.certificate_path.exists() and not authority.key_path.exists()
    if gone and (places.vault / "recovery.json").exists():
        raise PkiError(
            f"{authority.certificate_path}: is gone, and the vault and every host believe in no other; bring back {name}.pem"
            f" (and {name}.key) from a copy, or move {places.vault / 'recovery.json'} away to begin anew"
        )


def ensure_root(places: Places) -> Authority:
    """Make the root authority of the environment in <state>/pki where it is missing, and return it (20 years).

    :raises PkiError: it is gone, though the environment was set up under it.
    """
    _not_lost(places, "root")
    return Authority(places.pki, "root").ensure(f"Jinku root {places.name}", years=20, path_length=1)


def ensure_operators(places: Places) -> Authority:
    """Make the operators' authority in <state>/pki where it is missing, and return it (5 years).

    :raises PkiError: it is gone, though the environment was set up under it.
    """
    _not_lost(places, "operators")
    return Authority(places.pki, "operators").ensure(f"Jinku operators {places.name}", years=5, path_length=0)


def certifies(
    certificate: str, request: str, authority: Authority, *, names: list[str], addresses: list[str], days: float
) -> bool:
    """Return whether a server's certificate (PEM, or nothing) still does.

    It does when `authority` signed it for the key in `request` (PEM) and exactly these names and addresses, and more
    than `days` of its life are left.
    """
    if not certificate or not request:
        return False
    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
        found.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):  # no certificate at all, or somebody else's
        return False
    general = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        found.public_key() == x509.load_pem_x509_csr(request.encode()).public_key()
        and sorted(general.get_values_for_type(x509.DNSName)) == sorted(names)
        and {str(address) for address in general.get_values_for_type(x509.IPAddress)} == set(addresses)
        and remaining_days(certificate.encode()) > days
    )
