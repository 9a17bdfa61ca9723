# SPDX-License-Identifier: Apache-2.0
"""The report for people: one HTML page in one language, with everything in it; it prints and needs no script."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from jinku.evidence.catalogue import Catalogue, Control, load_catalogue
from jinku.evidence.records import CheckResult, ItemVerdict, Object, ObjectVerdict, Observation, Record, Verdict
from jinku.evidence.verdicts import conformity_rate
from jinku.evidence.wording import words

# What is shown of one output; the JSON document has more.
_SHOWN_CHARACTERS = 3000
_SHOWN_LINES = 45

#: What a page may not hold and no reader sees, as a program, a request's body say, may print it; tab and newline stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

#: Order in which verdicts are told.
VERDICTS = (Verdict.CONFORM, Verdict.PARTIAL, Verdict.NONCONFORM, Verdict.NOT_APPLICABLE, Verdict.NOT_TESTED)


def _escaped(value: Any) -> Any:
    r"""A text with its control characters as people write them (``\x00``); anything else as it is.

    What is markup already was put together from texts that went through this.
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", value)


@dataclass(frozen=True)
class ShownObservation:
    """An observation in the page; ``above``: id of the one where the same output of the same host stands, if not here."""

    seen: Observation
    above: str | None
    text: str
    cut: bool


@dataclass(frozen=True)
class ShownRecord:
    """A record with its observations."""

    record: Record
    observations: list[ShownObservation]


@dataclass(frozen=True)
class ShownPair:
    """An item on an object with its records."""

    pair: ObjectVerdict
    records: list[ShownRecord]


@dataclass(frozen=True)
class ShownItem:
    """An item with all its objects."""

    control: Control
    item: ItemVerdict
    pairs: list[ShownPair]


@dataclass
class ShownFramework:
    """A framework's items that were looked at, by family, and those that were not, by family."""

    id: str
    looked_at: dict[str, list[ShownItem]] = field(default_factory=lambda: defaultdict(list))
    silent: dict[str, list[ShownItem]] = field(default_factory=lambda: defaultdict(list))


class _Page:
    """Arranges a result for one language."""

    def __init__(self, result: CheckResult, language: str, catalogue: Catalogue) -> None:
        self._observations = {seen.id: seen for seen in result.observations}
        self._shown: dict[tuple[str, str], str] = {}
        self._language = language
        self._catalogue = catalogue
        self._records: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for record in result.records:
            self._records[record.item, record.object].append(record)
        self._pairs: dict[str, list[ObjectVerdict]] = defaultdict(list)
        for pair in result.verdicts:
            self._pairs[pair.item].append(pair)

    def frameworks(self, items: Iterable[ItemVerdict]) -> list[ShownFramework]:
        """All frameworks in the order of the catalogue; outputs stand at their first mention in this order."""
        found: dict[str, ShownFramework] = {}
        for item in items:
            control = self._catalogue[item.item]
            framework = found.setdefault(control.framework, ShownFramework(control.framework))
            family = getattr(control.family, self._language)
            shown = ShownItem(control, item, [self._pair(pair) for pair in self._pairs[item.item]])
            touched = any(pair.records for pair in shown.pairs)
            (framework.looked_at if touched else framework.silent)[family].append(shown)
        return list(found.values())

    def _pair(self, pair: ObjectVerdict) -> ShownPair:
        records = sorted(self._records[pair.item, pair.object], key=lambda record: record.polarity != "setting")
        return ShownPair(
            pair,
            [
                ShownRecord(record, [self._observation(self._observations[name]) for name in record.observations])
                for record in records
            ],
        )

    def _observation(self, seen: Observation) -> ShownObservation:
        # The same output of the same host stands once; an empty one is told each time by its own id.
        key = (seen.where, seen.sha256 if seen.stdout or seen.stderr else seen.id)
        above = self._shown.get(key)
        self._shown.setdefault(key, seen.id)
        whole = "\n".join(part.rstrip("\n") for part in (seen.stdout, seen.stderr) if part.strip())
        whole = _escaped(whole)
        text = "\n".join(whole[:_SHOWN_CHARACTERS].splitlines()[:_SHOWN_LINES])
        return ShownObservation(seen, above, "" if above else text, cut=seen.shortened or len(text) < len(whole))


def _findings(result: CheckResult) -> dict[str, list[ObjectVerdict]]:
    """Findings by item. Another framework's item is told only if no Dengbao item tells of the same object the same thing."""
    found: dict[str, list[ObjectVerdict]] = defaultdict(list)
    told: set[tuple[str, str]] = set()
    bad = [pair for pair in result.verdicts if pair.verdict in (Verdict.NONCONFORM, Verdict.PARTIAL)]
    for pair in sorted(bad, key=lambda pair: not pair.item.startswith("dengbao:")):
        same = (pair.object, pair.reason.text.rpartition("failed: ")[2])
        if pair.item.startswith("dengbao:") or same not in told:
            found[pair.item].append(pair)
        told.add(same)
    return found


def _columns(result: CheckResult) -> list[Object]:
    """Objects that some record speaks of, in the order of the objects."""
    touched = {record.object for record in result.records}
    return [thing for thing in result.objects if thing.id in touched]


@cache
def _template() -> Template:
    """The page; made once for both languages, for that takes a third of the time of a page."""
    environment = Environment(
        loader=PackageLoader("jinku.evidence"),
        autoescape=True,
        finalize=_escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def render(result: CheckResult, language: str) -> str:
    """The report of ``result`` as one self-contained HTML page.

    ``language``: ``zh`` or ``en``; times are shown in the environment's zone.
    """
    zone = ZoneInfo(result.environment.timezone)
    catalogue = load_catalogue()
    word = words(language)

    def clock(moment: datetime, pattern: str = "%Y-%m-%d %H:%M:%S") -> str:
        return moment.astimezone(zone).strftime(pattern)

    silent: dict[str, list[str]] = defaultdict(list)  # item -> classes of objects of which it has no test
    for pair in result.verdicts:
        if pair.reason.code == "no_test":
            silent[pair.item].append(pair.object.partition(":")[0])
    tested = {record.item for record in result.records}

    def said(pair: ItemVerdict | ObjectVerdict) -> str:
        """The reason in the reader's language; what a test or a person wrote stays in their words."""
        if pair.reason.code == "no_test" and pair.item in tested:
            classes = [pair.object.partition(":")[0]] if isinstance(pair, ObjectVerdict) else silent[pair.item]
            return word["r_no_test_on"].format(
                classes=word["and"].join(word.get(f"c_{name}", name) for name in classes)
            )
        told = word[f"r_{pair.reason.code}"]
        own_words = pair.reason.code in ("failed", "mixed", "declared", "error", "skipped", "unreachable")
        return f"{told}: {pair.reason.text}" if own_words else told

    dengbao = [item for item in result.items if item.item.startswith("dengbao:")]
    pairs = [pair for pair in result.verdicts if pair.item.startswith("dengbao:")]
    findings = _findings(result)
    return _template().render(
        result=result,
        language=language,
        word=word,
        clock=clock,
        said=said,
        verdicts=VERDICTS,
        catalogue=catalogue,
        frameworks=_Page(result, language, catalogue).frameworks(result.items),
        columns=_columns(result),
        counts={verdict: sum(item.verdict is verdict for item in dengbao) for verdict in VERDICTS},
        pair_counts={verdict: sum(pair.verdict is verdict for pair in pairs) for verdict in VERDICTS},
        by_object={(pair.item, pair.object): pair for pair in result.verdicts},
        total=len(dengbao),
        findings=findings,
        waived=[pair for pair in result.verdicts if pair.waiver],
        rate=conformity_rate(dengbao),
        declared=[item for item in result.items if item.declared_by],
        tests=len({r.test + r.object for r in result.records}),
        took=(result.ended - result.started).total_seconds(),
        zone=result.environment.timezone,
        nodes=len({thing.node for thing in result.objects if thing.object_class == "host"}),
    )
