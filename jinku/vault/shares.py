# SPDX-License-Identifier: Apache-2.0
"""Shares of the vault's key: how many there are, one file for each person who holds one, and opening a sealed vault with them."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvac.exceptions import InvalidRequest

from jinku.holders import share_file
from jinku.vault.door import Door, VaultError
from jinku.vault.fleet import Fleet

__all__ = [
    "Seal",
    "Split",
    "give",
    "hand_over",
    "holds",
    "keep",
    "record",
    "reserve",
    "seal_of",
    "share_file",
    "split_of",
]

_ROOM = 1 << 16  # bytes for one file of shares, encrypted ones included


@dataclass(frozen=True)
class Seal:
    """How far a vault is open. ``given`` of ``needed`` shares; ``by``: shamir, or static where a key on the host opens it."""

    sealed: bool
    given: int
    needed: int
    by: str


@dataclass(frozen=True)
class Split:
    """How the key is split: ``threshold`` of ``shares``; each to one of ``keys`` (OpenPGP, base64), or to a file where there are none."""

    shares: int
    threshold: int
    keys: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()


def split_of(fleet: Fleet) -> Split:
    """One share to each OpenPGP key of an operator's, or five in a file, three needed. :raises VaultError: one or two keys."""
    count = len(fleet.pgp_keys)
    if not count:
        return Split(5, 3)
    if count < 3:
        raise VaultError(
            f"environment.yaml: operators: {count} OpenPGP keys; at least 3, so that no one person suffices"
        )
    return Split(count, count // 2 + 1, fleet.pgp_keys, fleet.pgp_names)


def record(sort: str, split: Split, shares: Sequence[str]) -> dict[str, Any]:
    """What recovery.json says. ``sort``: secret where the shares open the vault, else recovery; ``shares``: in base64."""
    return {
        "schema": "jinku/recovery/1",
        "sort": sort,
        "threshold": split.threshold,
        "shares": list(shares),
        "encrypted": bool(split.keys),
        "holders": list(split.holders),
    }


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.draft")


def reserve(path: Path) -> None:
    """Take the room on the disk that :func:`keep` will need. :raises OSError: there is none."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(_draft(path), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)  # it may lie there from a copy
        os.posix_fallocate(descriptor, 0, _ROOM)
    finally:
        os.close(descriptor)


def keep(path: Path, text: str) -> None:
    """Write whole or not at all, into the room that was reserved: what is written here is told once only."""
    with _draft(path).open("r+b") as stream:
        stream.write(text.encode())
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())
    _put(_draft(path), path)


def _put(draft: Path, path: Path) -> None:
    """Give a file that is written its name, on the disk too: the next step may make its predecessor void."""
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def hand_over(path: Path, share: str) -> None:
    """Write an encrypted share (base64) to a file of its own (0600), whole or not at all."""
    scratch = _draft(path)
    scratch.unlink(missing_ok=True)  # of a run that was cut off; nobody else's mode, and no link
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(base64.b64decode(share))
        stream.flush()
        os.fsync(stream.fileno())
    _put(scratch, path)


def holds(path: Path, share: str) -> bool:
    """Whether a file is there and has this encrypted share (base64): not of a try before, and not cut short by a loss of power."""
    return path.exists() and path.read_bytes() == base64.b64decode(share)


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
