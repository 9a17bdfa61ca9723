# SPDX-License-Identifier: Apache-2.0
"""Operators with OpenPGP keys: the vault is set up by their shares alone, and opened by two of three after each start."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from openpgp import PEOPLE, gpg
from vault_world import World

from jinku.vault import VaultError, configure, door, initialise, manager
from jinku.vault.shares import give, seal_of, share_file

pytestmark = [pytest.mark.openbao, pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not here")]
SEAL = "shamir"


def share(vault: World, home: Path, person: str) -> str:
    return gpg(home, "--decrypt", str(share_file(vault.fleet.state / "vault", person))).decode()


def test_two_of_three_open_it_and_nothing_else_does(
    vault: World, keys: tuple[Path, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door.Door.wait_until_active, "__defaults__", (5,))
    home, public = keys
    fleet = replace(vault.fleet, pgp_keys=public, pgp_names=PEOPLE)
    with pytest.raises(VaultError, match="holds nothing yet; `jinku up`"):
        seal_of(vault.door)
    with pytest.raises(VaultError, match="sealed; the operators open it"):  # nobody else can
        initialise(fleet, vault.door)
    kept = (fleet.state / "vault/recovery.json").read_text()
    opened = [share(vault, home, person) for person in PEOPLE]
    assert not any(each in kept for each in opened)
    with pytest.raises(VaultError, match="the share is refused"):
        give(vault.door, "no share at all")
    assert (give(vault.door, opened[0]).given, seal_of(vault.door).needed) == (1, 2)
    assert not give(vault.door, opened[2]).sealed
    assert initialise(fleet, vault.door) == ["operators' way in opened, root token revoked"]
    with manager(fleet, vault.door) as client:
        configure(fleet, client)

    vault.stop()
    vault.start()
    assert (seal_of(vault.door).sealed, seal_of(vault.door).by) == (True, "shamir")
    give(vault.door, opened[1])
    with pytest.raises(VaultError, match="the share is refused"):  # two shares, one of them another vault's
        give(vault.door, "00" * 33)
    give(vault.door, opened[1])
    assert not give(vault.door, opened[0]).sealed
    assert vault.door.wait_until_active(20)["sealed"] is False
    assert json.loads(kept)["holders"] == list(PEOPLE)
