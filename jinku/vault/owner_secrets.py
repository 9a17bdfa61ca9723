# SPDX-License-Identifier: Apache-2.0
"""Secrets that an environment's owner brings into the vault: their shape, whether they are needed, whether they are there.

The duty manager writes and lists them, and can read none of them back. Nothing here repeats in an error what was given, not even a
key that is unknown: whoever confuses key and value has written the secret there.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import hvac
import requests
from hvac.exceptions import Forbidden
from hvac.exceptions import VaultError as HvacError

from jinku.model import InputError, Topology
from jinku.vault.door import VaultError, manager, through_the_bastion
from jinku.vault.fleet import Fleet
from jinku.vault.settings import Settings

__all__ = ["SECRETS", "Given", "Need", "OwnerSecret", "checked", "need_of", "opened", "put", "read", "readers", "there"]

#: Signs that end no word and no line in the files of Net-SNMP and NUT, beside letters and digits; as the agents' templates have them.
_SIGNS = "._~+/:@%!*-"
#: Bytes; a few short lines are wanted, and a whole disk that somebody redirects is not.
LARGEST = 64 * 1024


@dataclass(frozen=True)
class Part:
    """One key of a secret: how many characters it has, and which signs beside letters and digits."""

    key: str
    signs: str = _SIGNS
    shortest: int = 1
    longest: int = 255
    """NUT cuts a line of its protocol at 512."""
    because: str = ""
    """Who demands this length."""

    @property
    def right(self) -> str:
        """What it may be, in words."""
        reason = f" ({self.because})" if self.because else ""
        return f"{self.shortest} to {self.longest} letters, digits and {self.signs}{reason}"

    def wrong(self, value: object) -> str:
        """What is wrong with a value, without repeating it; "" if nothing."""
        if not isinstance(value, str):
            return "is no text; text in quotes"
        if not value:
            return f"is empty; {self.right}"
        if not re.fullmatch(rf"[A-Za-z0-9{re.escape(self.signs)}]+", value):
            return f"holds another sign, which could end a word or a line of a file; {self.right}"
        if len(value) < self.shortest:
            return f"is too short; {self.right}"
        return f"is too long; {self.right}" if len(value) > self.longest else ""


@dataclass(frozen=True)
class OwnerSecret:
    """A secret by the name that people use: where it lies in the vault, what it is, its parts, and the field that makes it needed."""

    name: str
    path: str
    what: str
    field: str
    parts: tuple[Part, ...]
    fixed: str = ""
    """What is no part of it, and would be looked for."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of its parts."""
        return tuple(part.key for part in self.parts)


_USM = "SNMPv3: RFC 3414"
#: What people put there. The account with which a simulated UPS stops all (`kv/power/primary`) is Jinku's own.
SECRETS = (
    OwnerSecret(
        "room",
        "kv/monitor/room",
        "the account of the sensors",
        "room.devices",
        (
            Part("user", longest=32, because=_USM),
            Part("authentication", shortest=8, because=_USM),
            Part("privacy", shortest=8, because=_USM),
        ),
        "the protocols are SHA-256 and AES, and not given",
    ),
    OwnerSecret(
        "ups",
        "kv/power/host",
        "the account of the UPS",
        "room.ups",
        (Part("user", signs="_-"), Part("password")),
    ),
)


class Need(StrEnum):
    """Who puts a secret of an environment into the vault."""

    OWNER = "owner"
    JINKU = "jinku (simulated)"
    NOBODY = "not needed"


def need_of(secret: OwnerSecret, topology: Topology) -> Need:
    """Who puts it there: the owner for devices of environment.yaml, Jinku for those that it simulates, else nobody. Pure."""
    room = topology.env.room
    stated, used = {"room": (room.devices, topology.room), "ups": (room.ups, topology.ups)}[secret.name]
    return Need.OWNER if stated else Need.JINKU if used else Need.NOBODY


def readers(secret: OwnerSecret, topology: Topology) -> list[str]:
    """Names of the nodes whose agents fetch it, in the order of the topology. Pure."""
    if need_of(secret, topology) is Need.NOBODY:
        return []
    simulated = {node.name for node in topology.nodes_of("room")}
    if secret.name == "room":
        asking = {node.name for node in topology.nodes_of("monitor")}
    else:
        asking = {node.name for node in topology.nodes if node.site in topology.ups}
    return [node.name for node in topology.nodes if node.name in asking | simulated]


class Given(NamedTuple):
    """One key with its value as it was given. ``where``: such as ``line 2``."""

    where: str
    key: str
    value: object


def read(secret: OwnerSecret, data: bytes) -> dict[str, str]:
    """The parts of a secret from standard input: a JSON object, or lines ``key=value``.

    :raises InputError: with everything that is wrong, in lines ``<secret>: <field>: <wrong>; <right>``, and nothing of what was given.
    """
    where = f"{secret.name}: standard input"
    forms = f"a JSON object or lines key=value, with the keys {', '.join(secret.keys)}"
    if len(data) > LARGEST:
        raise InputError([f"{where}: is larger than {LARGEST // 1024} KiB; {forms}"])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError([f"{where}: is not UTF-8 text; {forms}"]) from None
    if not text.strip():
        raise InputError([f"{where}: is empty; {forms}"])
    if not text.lstrip().startswith("{"):
        return checked(secret, *_lines(secret, text))
    try:
        pairs = json.loads(text, object_pairs_hook=list)  # a mapping would drop a key that is given twice
    except (ValueError, RecursionError) as error:
        place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError([f"{where}: is not JSON{place}; {forms}"]) from None
    return checked(secret, [Given(f"key {number}", *pair) for number, pair in enumerate(pairs, 1)])


def _lines(secret: OwnerSecret, text: str) -> tuple[list[Given], list[str]]:
    """What stands in lines ``key=value``, and what is wrong with their form."""
    given, wrong = [], []
    for number, line in enumerate(text.split("\n"), 1):
        key, sign, value = line.removesuffix("\r").partition("=")
        if sign:
            given.append(Given(f"line {number}", key.strip(), value))
        elif line.strip():
            wrong.append(f"{secret.name}: line {number}: has no =; key=value")
    return given, wrong


def checked(secret: OwnerSecret, given: Iterable[Given], wrong: Iterable[str] = ()) -> dict[str, str]:
    """The parts by key, when each is there once and is what it may be. ``wrong``: what is known already.

    :raises InputError: as :func:`read`.
    """
    problems, found = list(wrong), {}
    for where, key, value in given:
        if key not in secret.keys:
            known = ", ".join(secret.keys)
            fixed = f" ({secret.fixed})" if secret.fixed else ""
            problems.append(f"{secret.name}: {where}: its key is unknown; one of {known}{fixed}")
        elif key in found:
            problems.append(f"{secret.name}: {key}: is given twice; once")
        else:
            found[key] = value
    for part in secret.parts:
        error = part.wrong(found[part.key]) if part.key in found else f"is missing; {part.right}"
        if error:
            problems.append(f"{secret.name}: {part.key}: {error}")
    if problems:
        raise InputError(problems)
    return {key: str(value) for key, value in found.items()}


@contextlib.contextmanager
def opened(fleet: Fleet) -> Iterator[hvac.Client]:
    """The vault as the duty manager, whose token ends with the block.

    What the vault says of a refused request is not passed on: it could name what was sent, and stands in its audit log.
    :raises VaultError: it cannot be reached, is sealed, or refuses.
    :raises jinku.pki.PkiError: the operators' key is kept elsewhere.
    """
    with through_the_bastion(fleet) as door:
        door.wait_until_active(0)
        with manager(fleet, door) as client:
            try:
                yield client
            except Forbidden:
                words = "does not let the duty manager do this; `jinku up` brings its policies up to date"
                raise VaultError(f"{door.server_name}: {words}") from None
            except (HvacError, requests.RequestException) as error:
                raise VaultError(f"{door.server_name}: {type(error).__name__}; `jinku status`") from None


def there(client: hvac.Client) -> set[str]:
    """Names of the secrets that are in the vault: from its lists, so that no value is read. Raises hvac's errors."""
    settings = Settings(client)
    paths = {
        f"{folder}/{name}"
        for folder in sorted({secret.path.rpartition("/")[0] for secret in SECRETS})
        for name in settings.names(folder)
    }
    return {secret.name for secret in SECRETS if secret.path in paths}


def put(client: hvac.Client, secret: OwnerSecret, values: dict[str, str]) -> bool:
    """Write a secret as a whole; return whether there was one before. Raises hvac's errors."""
    before = secret.name in there(client)
    client.write_data(secret.path, data=values)
    return before
