# SPDX-License-Identifier: Apache-2.0
"""Which environment.yaml a state belongs to: two of one name would otherwise change, and destroy, each other's hosts."""

from pathlib import Path

import yaml

from jinku.evidence.private import write_private
from jinku.model import InputError
from jinku.model.loading import INVENTORIES
from jinku.places import Places

#: Environments that come with Jinku. The next version lies beside this one, and its `lab` is the same environment.
EXAMPLES = ("lab", "small", "standard")


def places_of(name: str, file: Path) -> Places:
    """Where the state of an environment lies, for whoever reads or changes it: `jinku`, and Ansible, pytest and Pulumi by themselves.

    ``name``: the environment's. ``file``: path of its environment.yaml, resolved.

    :raises InputError: as :func:`refuse_another`.
    """
    places = Places(name)
    refuse_another(places, file)
    return places


def refuse_another(places: Places, file: Path) -> None:
    """Refuse an environment.yaml (``file``) whose name is taken by another one that is still there. Changes nothing.

    :raises InputError: naming the other one, and what to do where both are meant to be the same.
    """
    other = _remembered(places)
    if other and other != _told(places.name, file) and _still_there(places.name, INVENTORIES / other, file):
        wrong = f"is {places.name!r}, and the state in {places.state} is that of {INVENTORIES / other}"
        right = f"another name, or, where both are meant to be the same environment, delete the other file or {places.origin}"
        raise InputError([f"{file}: name: {wrong}; {right}"])


def remember(places: Places, file: Path) -> str:
    """Note whose the state is from now on, in its folder, which is there. Whoever calls holds the environment.

    :returns: a sentence for the person where it was another one's, which is gone; else ''.
    :raises InputError: as :func:`refuse_another`.
    """
    refuse_another(places, file)
    other, own = _remembered(places), _told(places.name, file)
    if other == own:
        return ""
    write_private(places.origin, f"{own}\n")
    if not other or _same(INVENTORIES / other, file):
        return ""
    was = f"was that of {INVENTORIES / other}, where there is none of this name any more"
    return f"{file}: the state in {places.state} {was}; it is this one's from now on"


def _told(name: str, file: Path) -> str:
    """How a file is remembered: by its path, but one of :data:`EXAMPLES` without its checkout."""
    bundled = name in EXAMPLES and file == INVENTORIES / name / "environment.yaml"
    return str(file.relative_to(INVENTORIES) if bundled else file)


def _remembered(places: Places) -> str:
    """Whose the state is, '' where nobody has said: there is none, or a Jinku from before made it."""
    try:
        return places.origin.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _still_there(name: str, other: Path, file: Path) -> bool:
    """Whether another file holds an environment of that name. One that cannot be read may: its owner is asked, not guessed for."""
    try:
        if _same(other, file):
            return False
        found = yaml.safe_load(other.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError, yaml.YAMLError):
        return True
    return not isinstance(found, dict) or found.get("name") == name


def _same(other: Path, file: Path) -> bool:
    """Whether two paths lead to one file, as by a mount. One that is not there is no other path's."""
    try:
        return other.samefile(file)
    except (FileNotFoundError, NotADirectoryError):
        return False
