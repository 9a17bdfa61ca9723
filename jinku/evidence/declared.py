# SPDX-License-Identifier: Apache-2.0
"""<env>/controls.yaml: what the owner of an environment says about items that no test can judge, and what they accept.

    schema_version: 1
    items:
      dengbao:8.1.6.1:                      # judged by a person
        status: manual
        verdict: conform
        owner: Li Na
        reason: security policy v3, approved 2026-09-01, document SEC-001
        date: 2026-09-02
      dengbao:8.1.1.2: {status: inherited, verdict: conform, owner: ..., reason: report of the data centre, date: ...}
      dengbao:8.1.3.1.d: {status: not_applicable, owner: ..., reason: no radio in the room, date: ...}
    waivers:
      - {item: dengbao:8.1.4.1.d, object: "application:*", owner: ..., reason: ..., date: ..., until: 2027-03-31}

A waiver is shown beside a finding. It never changes a verdict, and it ends with its date ``until``, 366 days after ``date``
at the latest.
"""

import datetime as dt
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from jinku.evidence.catalogue import Catalogue
from jinku.evidence.objects import objects_of
from jinku.evidence.records import Verdict, Waiver
from jinku.model import InputError, Topology
from jinku.model.error_wording import lines
from jinku.model.fields import Section
from jinku.model.loading import parse, read_text

#: A finding may be accepted for so long; who still accepts it then, signs again.
LONGEST_WAIVER = dt.timedelta(days=366)


class DeclaredError(Exception):
    """controls.yaml does not hold; every line of the text names file, field, what is wrong and what would be right."""


def _in_catalogue(item: str, info: ValidationInfo) -> str:
    """Accept an item of a catalogue, where one is given as the context."""
    if info.context is not None and item not in info.context:
        raise ValueError(f"{item!r} is no item of a catalogue; an id such as dengbao:8.1.4.1.d")
    return item


def _day(value: object) -> object:
    """Refuse what pydantic would take for seconds since 1970: a number, and text that is one."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", str(value)):
        raise PydanticCustomError("no_day", "is no day")  # error_wording finds the words
    return value


Item = Annotated[str, Field(examples=["dengbao:8.1.4.1.d"]), AfterValidator(_in_catalogue)]
Day = Annotated[dt.date, BeforeValidator(_day)]


class _Signed(Section):
    owner: str = Field(min_length=1, examples=["zhang-wei"])
    """Who says so, an operator."""
    reason: str = Field(min_length=8, examples=["the room has no radio of any kind"])
    """Why, in words or by a document's name."""
    date: Day
    """The day on which it was signed, such as 2026-01-31."""

    @field_validator("date")
    @classmethod
    def _has_come(cls, date: dt.date) -> dt.date:
        # A day of grace, for the owner's clock may be ahead of this machine's.
        if date > dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1):
            raise ValueError(f"{date} has not come yet; the day on which it was signed")
        return date

    def as_waiver(self, until: dt.date | None = None) -> Waiver:
        """The signature as the report shows it."""
        end = until.isoformat() if until else None
        return Waiver(owner=self.owner, reason=self.reason, date=self.date.isoformat(), until=end)


class Statement(_Signed):
    """What a person says of an item. ``inherited``: another organisation's assessment covers it."""

    status: Literal["not_applicable", "manual", "inherited"]
    """How the item is judged: not_applicable, manual or inherited."""
    verdict: Literal["conform", "partial", "nonconform"] | None = None

    @model_validator(mode="after")
    def _verdict_fits(self) -> "Statement":
        if self.status == "not_applicable" and self.verdict:
            raise ValueError(f"is not_applicable and has the verdict {self.verdict}; no verdict, or another status")
        if self.status != "not_applicable" and not self.verdict:
            raise ValueError(f"is {self.status} and has no verdict; one of 'conform', 'partial' or 'nonconform'")
        return self

    @property
    def said(self) -> Verdict:
        """The verdict that the statement amounts to."""
        return Verdict(self.verdict) if self.verdict else Verdict.NOT_APPLICABLE


class WaiverEntry(_Signed):
    """A finding that is accepted for a time. ``object``: ``class:node``, where ``*`` stands for all."""

    item: Item
    """The item of the finding, by an id such as dengbao:8.1.4.1.d."""
    object: str = Field("*", examples=["host:*"])
    until: Day
    """The last day on which it is accepted, such as 2026-07-31."""

    @field_validator("until")
    @classmethod
    def _ends(cls, until: dt.date, info: ValidationInfo) -> dt.date:
        signed = info.data.get("date")
        if signed and until < signed:
            raise ValueError(f"{until} is before its date, {signed}: it never holds; a later day")
        if signed and until > signed + LONGEST_WAIVER:
            raise ValueError(
                f"{until} is {(until - signed).days} days after its date; at most {LONGEST_WAIVER.days}, then it is looked at anew"
            )
        return until

    def covers(self, item: str, thing: str, today: dt.date) -> bool:
        """Whether the finding on ``item`` and object ``thing`` is accepted on the day ``today``."""
        return self.item == item and fnmatchcase(thing, self.object) and today <= self.until


class Declared(Section):
    """The whole file; empty where an environment has none."""

    schema_version: Literal[1] = 1
    items: dict[Item, Statement] = Field(default={})
    waivers: tuple[WaiverEntry, ...] = ()

    def waiver(self, item: str, thing: str, today: dt.date) -> Waiver | None:
        """The waiver in force for ``item`` on object ``thing``, if there is one."""
        for entry in self.waivers:
            if entry.covers(item, thing, today):
                return entry.as_waiver(entry.until)
        return None


def load_declared(folder: Path, catalogue: Catalogue) -> Declared:
    """Read ``folder``/controls.yaml; an absent file declares nothing.

    :raises DeclaredError: with all problems found: it does not parse, has unknown fields, or names an item that no catalogue holds.
    """
    path = folder / "controls.yaml"
    if not path.exists():
        return Declared()
    try:
        data = parse(read_text(path), path, "'items:' and 'waivers:'", may_be_empty=True)
        return Declared.model_validate(data, context=catalogue)
    except InputError as error:
        raise DeclaredError(str(error)) from error
    except ValidationError as error:
        problems = lines(error.errors(), Declared)
        raise DeclaredError("\n".join(f"{path}: {problem}" for problem in problems)) from None


def of_nobody(declared: Declared, topology: Topology) -> list[str]:
    """`<field>: <what is wrong>; <what would be right>` for signatures of people, and waivers of objects, that the environment has not.

    Told, and no reason to refuse: who removes a person or a host must not be kept from it by what they once signed.
    """
    names = {operator.name for operator in topology.env.operators}
    things = [thing.id for thing in objects_of(topology)]
    signed: list[tuple[str, _Signed]] = [(f"items.{item}", entry) for item, entry in declared.items.items()]
    signed += [(f"waivers.{number}", entry) for number, entry in enumerate(declared.waivers)]
    found = [
        f"{field}.owner: {entry.owner!r} is no operator; one of {', '.join(sorted(names))}"
        for field, entry in signed
        if "-".join(entry.owner.lower().split()) not in names
    ]
    found += [
        f"waivers.{number}.object: {entry.object!r} is no object of this environment; such as {things[0]!r} or 'host:*'"
        for number, entry in enumerate(declared.waivers)
        if not any(fnmatchcase(thing, entry.object) for thing in things)
    ]
    return found
