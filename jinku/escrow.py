# SPDX-License-Identifier: Apache-2.0
"""The escrow: whoever holds its key opens every volume, also when the vault is lost. In <state>/pki, best carried away.

Each volume's key is sealed to the escrow's certificate (CMS, RSA-OAEP) when it is made, on its host, and lies in the clear text of
the volume itself. The key of the escrow is needed only after the loss of the vault, or of the vault's own host.
"""

import datetime as dt
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from filelock import FileLock

from jinku.pki import PkiError, write_key_file
from jinku.places import Places

__all__ = ["Escrow", "ensure_escrow"]

_BITS = 3072
_YEARS = 20


@dataclass(frozen=True)
class Escrow:
    """`escrow.pem` and `escrow.key` (0600) in the folder of the authorities."""

    folder: Path

    @property
    def certificate_path(self) -> Path:
        """Path of the certificate that keys are sealed to, PEM."""
        return self.folder / "escrow.pem"

    @property
    def key_path(self) -> Path:
        """Path of the key, PEM (PKCS 8); absent while it is kept offline."""
        return self.folder / "escrow.key"

    def open(self, sealed: str) -> bytes:
        """Return the volume's key in a text that `jinku-volumes` sealed (CMS, PEM).

        :raises PkiError: the escrow's key is not here, or the text was sealed to another.
        """
        if not self.key_path.exists():
            raise PkiError(
                f"{self.key_path}: the key is not here; bring it back from where it is kept offline, for now"
            )
        command = ["openssl", "cms", "-decrypt", "-binary", "-inform", "PEM", "-inkey", str(self.key_path)]
        command += ["-recip", str(self.certificate_path)]
        done = subprocess.run(command, input=sealed.encode(), capture_output=True, check=False)
        if done.returncode:
            reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["refused"])[-1]
            raise PkiError(
                f"{self.key_path}: does not open this key ({reason}); the escrow that the volume was made under"
            )
        return done.stdout


def ensure_escrow(places: Places) -> Escrow:
    """Make the escrow of the environment in <state>/pki where it is missing, and return it (20 years).

    :raises PkiError: its key is not what it should be.
    """
    escrow = Escrow(places.pki)
    escrow.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(escrow.folder / ".lock"):
        if escrow.certificate_path.exists():
            return escrow
        if not escrow.key_path.exists():
            private = serialization.PrivateFormat.PKCS8
            made = rsa.generate_private_key(65537, _BITS)
            text = made.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
            write_key_file(escrow.key_path, text, 0o600)
        # a key that is there is never replaced: volumes may be sealed to it
        key = serialization.load_pem_private_key(escrow.key_path.read_bytes(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise PkiError(f"{escrow.key_path}: no RSA key; the escrow's key, or none at all")
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Jinku escrow {places.name}")])
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(minutes=5))
        builder = builder.not_valid_after(now + dt.timedelta(days=365 * _YEARS))
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        write_key_file(escrow.certificate_path, certificate, 0o644)
    return escrow
