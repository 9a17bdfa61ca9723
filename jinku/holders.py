# SPDX-License-Identifier: Apache-2.0
"""Who holds a share of the vault's key, as the controller's files say: asked at each `up` and `status`, without the vault."""

import json
from collections.abc import Iterable
from pathlib import Path

__all__ = ["left_with_a_share", "rekey_file", "share_file", "words_on_shares"]


def share_file(folder: Path, person: str) -> Path:
    """Where the share of an operator lies, encrypted to that operator's OpenPGP key. ``folder``: <state>/vault."""
    return folder / f"share.{person}.gpg"


def rekey_file(folder: Path) -> Path:
    """What is there as long as a rekey is not ended. ``folder``: <state>/vault."""
    return folder / "rekey.json"


def left_with_a_share(folder: Path, people: Iterable[str]) -> list[str]:
    """Who holds a share and is none of these people: the names, sorted. ``folder``: <state>/vault.

    :raises ValueError: recovery.json is damaged.
    """
    holders = {path.name.removeprefix("share.").removesuffix(".gpg") for path in folder.glob("share.*.gpg")}
    file = folder / "recovery.json"
    if file.exists():
        holders |= set(json.loads(file.read_text()).get("holders", ()))
    return sorted(holders - set(people))


def words_on_shares(folder: Path, people: Iterable[str]) -> list[str]:
    """A line for each of them and for a rekey that is not ended, for whoever looks at the environment."""
    told = []
    if rekey_file(folder).exists():
        told.append("new shares of the vault's key were begun and do not hold yet; `jinku rekey` goes on")
    try:
        left = left_with_a_share(folder, people)
    except ValueError:
        return [*told, f"{folder / 'recovery.json'}: (file): is damaged; bring it back from a copy"]
    return [*told, *(f"{name} left and holds a share of the vault's key; `jinku rekey`" for name in left)]
