# SPDX-License-Identifier: Apache-2.0
"""The words of the evidence: observation, record, verdict; and the document ``jinku/check/1`` that carries them."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

Polarity = Literal["setting", "behaviour"]
Substrate = Literal["simulated", "container", "vm", "hardware", "unknown"]


class Verdict(StrEnum):
    """What is said of an item on an object. ``not_tested`` is never a kind of conform."""

    CONFORM = "conform"
    PARTIAL = "partial"
    NONCONFORM = "nonconform"
    NOT_APPLICABLE = "not_applicable"
    NOT_TESTED = "not_tested"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Reason(_Frozen):
    """Why a verdict is what it is. ``code`` is for machines and translation, ``text`` for people (English)."""

    code: Literal[
        "proven",  # by setting and by behaviour
        "failed",  # the system does not do what the item demands
        "mixed",  # some of it conforms, some does not
        "skipped",  # a test declined to judge
        "error",  # a test broke before it could judge
        "unobserved",  # a test passed and had asked nothing
        "unreachable",  # the host did not answer
        "not_run",  # a test exists and was left out of this run
        "no_test",  # no test of this item exists for this class of object
        "undeclared",  # only a person can judge the item, and controls.yaml says nothing of it
        "one_sided",  # setting without behaviour, or the other way round
        "declared",  # the owner of the environment says so in controls.yaml
    ]
    text: str


class Observation(_Frozen):
    """One question to the running environment and its answer.

    ``where``: node asked, or ``controller``. ``started``/``ended``: UTC. ``sha256``: over stdout + stderr as they stand
    here (masked, shortened), in UTF-8, so that anybody can compute it again from the document.
    """

    id: str
    where: str
    command: str
    exit_code: int
    stdout: str
    stderr: str
    shortened: bool = False
    started: datetime
    ended: datetime
    sha256: str


class Object(_Frozen):
    """An assessed thing: ``id`` is ``class:node``; ``substrate`` is what the host itself says that it runs on."""

    id: str
    object_class: str
    node: str
    site: str
    zone: str
    address: str
    tiers: tuple[str, ...] = ()
    substrate: Substrate = "unknown"


class Record(_Frozen):
    """One test's verdict on one item for one object and one polarity, with the observations that it rests on."""

    item: str
    object: str
    polarity: Polarity
    verdict: Verdict
    reason: Reason
    test: str
    title_en: str
    title_zh: str
    substrate: Substrate
    observations: tuple[str, ...] = ()
    started: datetime
    ended: datetime


class Waiver(_Frozen):
    """A finding that its owner accepts for a time. It explains a verdict and never changes one."""

    owner: str
    reason: str
    date: str
    until: str | None = None


class ObjectVerdict(_Frozen):
    """What is said of one item on one object. ``object`` is ``class:*`` where no object of a class was looked at."""

    item: str
    object: str
    verdict: Verdict
    reason: Reason
    waiver: Waiver | None = None


class ItemVerdict(_Frozen):
    """What is said of one item over all its objects."""

    item: str
    verdict: Verdict
    reason: Reason
    waiver: Waiver | None = None
    declared_by: Waiver | None = None


class Label(_Frozen):
    """A remark on the whole environment that every reader must know, such as a shortcut of the lab."""

    en: str
    zh: str


class Subject(_Frozen):
    """The environment that was looked at."""

    name: str
    level: int
    profile: str
    backend: str
    timezone: str


class CheckResult(_Frozen):
    """Everything that one check found out: the document ``jinku/check/1``.

    ``only``: nodes that it was kept to, if any. ``read_only``: it looked at settings and tried nothing, so that it proves
    no item.
    """

    schema_: Literal["jinku/check/1"] = "jinku/check/1"
    environment: Subject
    jinku_version: str
    commit: str
    started: datetime
    ended: datetime
    labels: tuple[Label, ...] = ()
    unreachable: dict[str, str] = {}
    only: tuple[str, ...] = ()
    read_only: bool = False
    objects: tuple[Object, ...]
    observations: tuple[Observation, ...]
    records: tuple[Record, ...]
    verdicts: tuple[ObjectVerdict, ...]
    items: tuple[ItemVerdict, ...]

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        serialize_by_alias=True,
        validate_by_name=True,
        alias_generator=lambda name: "schema" if name == "schema_" else name,
    )

    def count(self, framework: str = "dengbao") -> dict[Verdict, int]:
        """Number of items of ``framework`` per verdict."""
        counted = dict.fromkeys(Verdict, 0)
        for item in self.items:
            if item.item.startswith(f"{framework}:"):
                counted[item.verdict] += 1
        return counted

    def undeclared(self, framework: str = "dengbao") -> int:
        """Number of items of ``framework`` that only a person can judge, and of which nobody has declared anything."""
        return sum(item.item.startswith(f"{framework}:") and item.reason.code == "undeclared" for item in self.items)

    def incomplete(self, framework: str = "dengbao") -> tuple[str, ...]:
        """Items of ``framework`` that have tests, and whose other side or other class of objects has none."""
        tested = {record.item for record in self.records if record.item.startswith(f"{framework}:")}
        return tuple(
            item.item
            for item in self.items
            if item.item in tested
            and item.verdict is Verdict.NOT_TESTED
            and item.reason.code in ("one_sided", "no_test")
        )

    @property
    def findings(self) -> tuple[ObjectVerdict, ...]:
        """Object x item pairs that do not conform and that nobody has waived."""
        bad = (Verdict.NONCONFORM, Verdict.PARTIAL)
        return tuple(verdict for verdict in self.verdicts if verdict.verdict in bad and verdict.waiver is None)

    @property
    def unjudged(self) -> tuple[ObjectVerdict, ...]:
        """Object x item pairs that tests looked at and could not judge: unreachable host, error, skip."""
        met = ("unreachable", "error", "unobserved", "skipped")
        return tuple(pair for pair in self.verdicts if pair.verdict is Verdict.NOT_TESTED and pair.reason.code in met)

    @property
    def broken(self) -> tuple[Record, ...]:
        """Records of tests that exist and could not judge: unreachable host, error, skip."""
        return tuple(record for record in self.records if record.verdict is Verdict.NOT_TESTED)
