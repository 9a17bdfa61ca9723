# SPDX-License-Identifier: Apache-2.0
"""Shares of the vault's key: one file for each person who holds one, and opening a sealed vault with them, one by one."""

from dataclasses import dataclass
from pathlib import Path

from hvac.exceptions import InvalidRequest

from jinku.vault.door import Door, VaultError

__all__ = ["Seal", "give", "seal_of", "share_file"]


@dataclass(frozen=True)
class Seal:
    """How far a vault is open. ``given`` of ``needed`` shares; ``by``: shamir, or static where a key on the host opens it."""

    sealed: bool
    given: int
    needed: int
    by: str


def share_file(folder: Path, person: str) -> Path:
    """Where the share of an operator lies, encrypted to that operator's OpenPGP key. ``folder``: <state>/vault."""
    return folder / f"share.{person}.gpg"


def _seal(told: dict[str, object]) -> Seal:
    return Seal(bool(told["sealed"]), int(str(told["progress"])), int(str(told["t"])), str(told["type"]))


def seal_of(door: Door) -> Seal:
    """Ask the vault. :raises VaultError: it does not answer, or was never set up."""
    if not door.health()["initialized"]:
        raise VaultError(f"{door.server_name}: holds nothing yet; `jinku up` sets it up")
    return _seal(door.client().read("sys/seal-status") or {})


def give(door: Door, share: str) -> Seal:
    """Give one share, as it was decrypted: hexadecimal or base64.

    :raises VaultError: it is no share, or the shares given so far do not fit together (the count begins anew).
    """
    try:
        return _seal(door.client().adapter.put("/v1/sys/unseal", json={"key": share}))
    except InvalidRequest as error:
        raise VaultError(
            f"{door.server_name}: the share is refused ({error}); give the shares of this vault, from the first on"
        ) from None
