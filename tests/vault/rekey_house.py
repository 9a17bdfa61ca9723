# SPDX-License-Identifier: Apache-2.0
"""A vault whose shares people hold, and runs of `jinku rekey` on it."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from openpgp import gpg
from vault_world import World

from jinku.vault import Fleet, VaultError, operator, rekey
from jinku.vault.rekey import Rekey, Step, new_share_file
from jinku.vault.shares import give, share_file

#: Who has a share at first, and after one of them left and another came.
TEAM, LATER = ("li.wei", "zhang.min", "wang.fang"), ("li.wei", "zhang.min", "chen.jie")


@dataclass
class House:
    """A vault and people with OpenPGP keys, each with a folder of the own in ``home``."""

    world: World
    home: Path

    def fleet(self, *people: str) -> Fleet:
        """As environment.yaml says when these have keys."""
        public = tuple(base64.b64encode(gpg(self.home / name, "--export")).decode() for name in people)
        return replace(self.world.fleet, pgp_keys=public, pgp_names=people)

    @property
    def folder(self) -> Path:
        """<state>/vault."""
        return self.world.fleet.state / "vault"

    @contextmanager
    def rekey(self, *people: str) -> Iterator[Rekey]:
        """Another run of `jinku rekey`."""
        fleet = self.fleet(*people)
        with operator(fleet, self.world.door, "recovery") as client:
            yield Rekey(fleet, self.world.door, client)

    def share(self, person: str, *, new: bool = False) -> str:
        """What the person decrypts."""
        file = new_share_file(self.folder, person) if new else share_file(self.folder, person)
        return gpg(self.home / person, "--decrypt", str(file)).decode()

    def restart(self, *shares: str) -> None:
        """Restart it, and open it with these."""
        self.world.stop()
        self.world.start()
        for share in shares:
            give(self.world.door, share)
        self.world.door.wait_until_active(20)

    def give(self, people: tuple[str, ...], *shares: str) -> Step:
        """One run for each share."""
        step = Step("")
        for share in shares:
            with self.rekey(*people) as one:
                one.begin()
                step = one.give(share)
        return step

    def to_the_new_ones(self, people: tuple[str, ...] = TEAM) -> Step:
        """A rekey that waits for its first new share."""
        return self.give(people, self.share("li.wei"), self.share("zhang.min"))


def kept(house: House) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((house.folder / "recovery.json").read_text())
    return found


def by_itself(one: Rekey) -> Step:
    step = one.begin()
    while share := one.own_share(step):
        step = one.give(share)
    return step


def left_behind(house: House) -> list[str]:
    return sorted(path.name for path in house.folder.iterdir() if "new-" in path.name or "rekey" in path.name)


def lost(monkeypatch: pytest.MonkeyPatch, *, taken: bool) -> None:
    """Lose the answer to a new share that is given, after or before the vault has it."""
    asked = Rekey._ask

    def ask(self: Rekey, method: str, what: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        if (method, what) != ("put", "verify"):
            return asked(self, method, what, given)
        if taken:
            asked(self, method, what, given)
        raise VaultError("no answer")

    monkeypatch.setattr(Rekey, "_ask", ask)


class CutOff:
    """Cuts a rekey off at one of its steps: each request, before it is sent and after it was, and each file that is written.

    ``at``: number of that step, from 1 on; ``left``: how many are still to come before it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.left = at
        asked = Rekey._ask

        def ask(one: Rekey, *words: Any) -> dict[str, Any]:
            self._step()
            told = asked(one, *words)
            self._step()
            return told

        monkeypatch.setattr(Rekey, "_ask", ask)
        for name in ("keep", "hand_over", "reserve"):
            monkeypatch.setattr(rekey, name, self._cut(getattr(rekey, name)))

    def _cut(self, write: Callable[..., None]) -> Callable[..., None]:
        def cut(*words: Any) -> None:
            self._step()
            write(*words)
            self._step()

        return cut

    def _step(self) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
