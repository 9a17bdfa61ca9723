# SPDX-License-Identifier: Apache-2.0
"""The key of the backups: made once, kept in the vault for the backup host, and in the operators' escrow for the day without one."""

import json
import os
import secrets
from pathlib import Path

from jinku.vault.door import VaultError
from jinku.vault.fleet import Fleet
from jinku.vault.settings import Settings

__all__ = ["keep_backup_key"]

_DAY = 86400
#: Bytes of each of the two pass phrases.
_STRENGTH = 32


def keep_backup_key(fleet: Fleet, settings: Settings) -> None:
    """Have `backup/repository` in the vault, and the same in <state>/backup/key.json (0600), the escrow.

    The escrow is written first, and a vault that has lost the key takes it from there: copies that exist stay readable.
    The manager may put the key there and can neither read nor replace it. Raises VaultError when the vault has a key of
    which there is no escrow, or one that is none.
    """
    keepers = fleet.of_tier("backup")
    if not keepers or not settings.mount("mounts", "backup", "kv", _DAY):
        return
    escrow = fleet.state / "backup" / "key.json"
    if "repository" in settings.names("backup"):
        if not escrow.exists():
            raise VaultError(
                f"{escrow}: is missing: the key of the backups is then only in the vault that is to be restored; bring it back, "
                f"or take it from the host: (umask 077; jinku ssh {keepers[0].name} -- sudo cat /etc/jinku/backup/keys/key.json > {escrow})"
            )
        _read(escrow)
        return
    if settings.dry:
        settings.changes.append("backup/repository")
        return
    settings.write("backup/repository", _escrowed(escrow))


def _escrowed(escrow: Path) -> dict[str, str]:
    """Return the key in the escrow, made where there is none. Raises VaultError when the file holds something else."""
    if not escrow.exists():
        escrow.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = {"database": secrets.token_urlsafe(_STRENGTH), "files": secrets.token_urlsafe(_STRENGTH)}
        scratch = escrow.with_name(f".{escrow.name}.new")
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(json.dumps(made) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        scratch.rename(escrow)
    return _read(escrow)


def _read(escrow: Path) -> dict[str, str]:
    """Return the key that the escrow holds. Raises VaultError when it holds none, such as after a copy that did not succeed."""
    words = f"{escrow}: is not an escrow of the backups' key; the file that an earlier `jinku up` wrote"
    try:
        found = json.loads(escrow.read_text())
        key = {"database": str(found["database"] or ""), "files": str(found["files"] or "")}
    except (ValueError, KeyError, TypeError) as error:
        raise VaultError(words) from error
    if not all(key.values()):
        raise VaultError(words)
    return key
