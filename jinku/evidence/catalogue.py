# SPDX-License-Identifier: Apache-2.0
"""The demands: every framework's catalogue file, brought to one shape.

Control ids carry their framework: ``dengbao:8.1.4.1.d``, ``iso27001:A.8.5``, ``pipl:24``, ``pipl:CSL-23``.
A new framework is one file in compliance_tests/controls and one reader here.
"""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from jinku.evidence.objects import CLASSES
from jinku.places import CHECKOUT

CONTROLS = CHECKOUT / "compliance_tests" / "controls"

# A catalogue's testability class -> class of assessed object. Classes without a machine to ask are their own object.
OBJECT_CLASS = {"host": "host", "network": "network", "crm": "application"}
UNASKED = ("process", "environment")


class CatalogueError(Exception):
    """A catalogue file does not read; the text names file, field and what would be right."""


class Words(BaseModel):
    """A sentence in both languages of the product."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    en: str
    zh: str


class Control(BaseModel):
    """One item of one framework.

    ``classes``: object classes that must be looked at before the item is proven, the primary one first.
    ``levels``: Dengbao levels that demand it. ``partial_possible``: its unit has more than one step (GB/T 28448).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    framework: str
    title: Words
    demand: Words
    family: Words
    point: str
    classes: tuple[str, ...]
    levels: frozenset[int] = frozenset({2, 3})
    partial_possible: bool = True
    unit: str | None = None
    high_risk: str | None = None
    maps_to: tuple[str, ...] = ()
    note: str | None = None


def _classes(testability: dict[str, Any] | str) -> tuple[str, ...]:
    """Object classes of a testability entry.

    The catalogue's words name ways of proof. ``also`` is mostly another way for the same object (a probe for a host, a
    host's own rules for the network); only ``crm`` there names another object that the item is demanded of, too.
    """
    if isinstance(testability, str):
        primary, also = testability, list[str]()
    else:
        primary, also = testability["primary"], testability.get("also") or []
    if primary in UNASKED:
        return (primary,)
    return tuple(dict.fromkeys(OBJECT_CLASS[word] for word in (primary, *(["crm"] if "crm" in also else []))))


def _stated(objects: dict[str, Any] | None) -> tuple[str, ...]:
    """Object classes that an entry states itself, with the reason ``why``; () where its way of proof tells them well enough."""
    if objects is None:
        return ()
    unknown = set(objects["classes"]) - set(CLASSES)
    if unknown or not objects["why"]:
        raise KeyError(f"objects: classes of {', '.join(CLASSES)}, and why")
    return tuple(objects["classes"])


def _dengbao(entry: dict[str, Any]) -> Control:
    point, risk = entry["control_point"], entry.get("high_risk_2025")
    return Control(
        id=f"dengbao:{entry['id']}",
        framework="dengbao",
        title=Words(en=point["en"], zh=point["zh"]),
        demand=Words(**entry["paraphrase"]),
        family=Words(en=entry["family"]["en"], zh=entry["family"]["zh"]),
        point=point["id"],
        classes=_stated(entry.get("objects")) or _classes(entry["testability"]),
        levels=frozenset({3} if entry["level2"].get("level3_only") else {2, 3}),
        partial_possible=entry["unit"]["partial_verdict_possible"],
        unit=entry["unit"]["id"],
        high_risk=risk["case"] if risk else None,
        maps_to=tuple(f"iso27001:{other}" for other in entry["iso27001"] or ()),
        note=entry.get("note"),
    )


_THEMES = {"Organizational": "组织控制", "People": "人员控制", "Physical": "物理控制", "Technological": "技术控制"}


def _iso27001(entry: dict[str, Any]) -> Control:
    title = Words(**entry["title"])
    theme = entry["theme"]
    return Control(
        id=f"iso27001:{entry['id']}",
        framework="iso27001",
        title=title,
        demand=title,
        family=Words(en=theme, zh=_THEMES[theme]),
        point=entry["id"],
        classes=_classes(entry["testability"]),
        maps_to=tuple(f"dengbao:{other}" for other in entry["dengbao"]),
    )


def _pipl(entry: dict[str, Any]) -> Control:
    zh, _, en = entry["red_line"].partition(" / ")
    return Control(
        id=f"pipl:{entry['id'].removeprefix('PIPL-')}",
        framework="pipl",
        title=Words(en=en or zh, zh=zh),
        demand=Words(**entry["obligation"]),
        family=Words(en=entry["law"], zh=entry["law"]),
        point=entry["id"],
        classes=_classes(entry["testability"]),
        maps_to=tuple(f"dengbao:{other}" for other in entry["dengbao"]),
    )


# framework -> key of its list of items, reader of one item
READERS: dict[str, tuple[str, Callable[[dict[str, Any]], Control]]] = {
    "dengbao": ("items", _dengbao),
    "iso27001": ("controls", _iso27001),
    "pipl": ("items", _pipl),
}


class Catalogue(dict[str, Control]):
    """All controls by id, in the order of their files."""

    def of(self, framework: str, level: int) -> Iterator[Control]:
        """Controls of ``framework`` that Dengbao ``level`` (2 or 3) demands."""
        return (control for control in self.values() if control.framework == framework and level in control.levels)


@cache
def load_catalogue(folder: Path = CONTROLS) -> Catalogue:
    """Read every framework's file in ``folder``.

    :raises CatalogueError: a file is missing, a field is missing or of a wrong type, or an id stands twice.
    """
    catalogue = Catalogue()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for framework, (key, reader) in READERS.items():
        path = folder / f"{framework}.yaml"
        try:
            entries = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)[key]  # noqa: S506 - a safe loader
        except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
            raise CatalogueError(f"{path}: {key}: does not read ({error}); a YAML file with a list '{key}'") from error
        for place, entry in enumerate(entries):
            try:
                control = reader(entry)
            except (KeyError, TypeError, ValidationError) as error:
                name = entry.get("id", place) if isinstance(entry, dict) else place
                raise CatalogueError(f"{path}: {key}.{name}: {error!r}; the shape of its neighbours") from error
            if control.id in catalogue:
                raise CatalogueError(f"{path}: {key}.{control.id}: stands twice; one entry for one control")
            catalogue[control.id] = control
    return catalogue
