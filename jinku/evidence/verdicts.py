# SPDX-License-Identifier: Apache-2.0
"""From records to verdicts. A verdict is earned: what nobody looked at is ``not_tested``, never conform.

record  = test x item x object x polarity          (made by the plugin)
pair    = item x object, from its records          (``judge_pair``)
item    = from its pairs                           (``judge_item``)
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date

from jinku.evidence.catalogue import UNASKED, Catalogue, Control
from jinku.evidence.declared import Declared
from jinku.evidence.records import ItemVerdict, Object, ObjectVerdict, Reason, Record, Verdict

_POLARITIES = ("setting", "behaviour")
_LEFT_OUT = Reason(code="not_run", text="left out of this run")
# Which of several reasons for "not tested" is told: the one that says most.
_TELLING = ("unreachable", "error", "unobserved", "skipped", "one_sided", "not_run", "no_test")


def judge_pair(control: Control, records: Sequence[Record], *, whole: bool = True) -> tuple[Verdict, Reason]:
    """Verdict of one item on one object from all its records; ``whole``: no test of it was left out of this run.

    A failure stands even if other tests could not judge. Conform needs every test to conform, by setting and by
    behaviour. A mixed result is ``partial`` only if the item's unit has several steps (GB/T 28448), else nonconform.
    """
    failed = [record for record in records if record.verdict is Verdict.NONCONFORM]
    good = [record for record in records if record.verdict is Verdict.CONFORM]
    silent = [record for record in records if record.verdict is Verdict.NOT_TESTED]
    if failed:
        text = failed[0].reason.text
        if good and control.partial_possible:
            return Verdict.PARTIAL, Reason(code="mixed", text=f"{len(failed)} of {len(records)} tests failed: {text}")
        return Verdict.NONCONFORM, Reason(code="failed", text=text)
    if silent:
        silent.sort(key=lambda record: _TELLING.index(record.reason.code))
        return Verdict.NOT_TESTED, silent[0].reason
    if not whole:
        return Verdict.NOT_TESTED, _LEFT_OUT
    missing = [polarity for polarity in _POLARITIES if polarity not in {record.polarity for record in records}]
    if missing:
        return Verdict.NOT_TESTED, Reason(code="one_sided", text=f"no test looks at it by {' or '.join(missing)}")
    return Verdict.CONFORM, Reason(code="proven", text="proven by setting and by behaviour")


def judge_item(pairs: Sequence[ObjectVerdict]) -> tuple[Verdict, Reason]:
    """Verdict of one item over its objects: findings first, then what was not looked at, then conform."""
    found = [pair for pair in pairs if pair.verdict in (Verdict.NONCONFORM, Verdict.PARTIAL)]
    silent = [pair for pair in pairs if pair.verdict is Verdict.NOT_TESTED]
    if found:
        names = ", ".join(pair.object for pair in found)
        if all(pair.verdict is Verdict.NONCONFORM for pair in pairs):
            return Verdict.NONCONFORM, Reason(code="failed", text=names)
        return Verdict.PARTIAL, Reason(code="mixed", text=names)
    if silent:
        if len(silent) == len(pairs):
            return Verdict.NOT_TESTED, silent[0].reason
        names = ", ".join(pair.object for pair in silent)
        return Verdict.NOT_TESTED, Reason(code=silent[0].reason.code, text=f"not proven on {names}")
    return Verdict.CONFORM, Reason(code="proven", text="proven by setting and by behaviour on every object")


def _expected(control: Control, objects: Iterable[Object]) -> list[str]:
    """Objects that an item is to be proven on: all of its classes; ``class:*`` where the environment has none."""
    wanted = []
    for name in control.classes:
        if name in UNASKED:
            continue
        of_class = [thing.id for thing in objects if thing.object_class == name]
        wanted += of_class or [f"{name}:*"]
    return wanted


def judge(
    catalogue: Catalogue,
    level: int,
    objects: Sequence[Object],
    records: Sequence[Record],
    declared: Declared,
    today: date,
    left_out: Collection[tuple[str, str]] = (),
) -> tuple[tuple[ObjectVerdict, ...], tuple[ItemVerdict, ...]]:
    """Judge every item that ``level`` demands, also those without a test.

    Where a class of objects has tests of an item, each object of that class is judged; where it has none, one line
    ``class:*`` says so. ``today`` decides which waivers are in force. ``left_out``: (item, object) of each test that
    exists and was kept out of this run; such an item is not proven by what is left.
    """
    untried: dict[str, set[str]] = defaultdict(set)
    for item, thing in left_out:
        untried[item].add(thing)
    by_item: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        by_item[record.item][record.object].append(record)
    pairs: list[ObjectVerdict] = []
    items: list[ItemVerdict] = []
    for control in catalogue.values():
        if level not in control.levels:
            continue
        found = by_item[control.id]
        faulty = any(record.verdict is Verdict.NONCONFORM for records in found.values() for record in records)
        # What somebody says of an item cannot unsay what a test saw, or would have seen.
        statement = None if faulty or control.id in untried else declared.items.get(control.id)
        if statement is not None:
            said = Reason(code="declared", text=f"{statement.status}: {statement.reason}")
            items.append(
                ItemVerdict(item=control.id, verdict=statement.said, reason=said, declared_by=statement.as_waiver())
            )
            if statement.said is Verdict.NOT_APPLICABLE or not found:
                continue
        mine = _pairs_of(control, objects, found, declared, today, untried[control.id])
        pairs += mine
        if statement is None:
            items.append(_item_of(control, mine, declared, today))
    return tuple(pairs), tuple(items)


def _pairs_of(
    control: Control,
    objects: Sequence[Object],
    found: dict[str, list[Record]],
    declared: Declared,
    today: date,
    left_out: Collection[str],
) -> list[ObjectVerdict]:
    looked_at = {thing.partition(":")[0] for thing in (*found, *left_out)}
    pairs: dict[str, ObjectVerdict] = {}
    for thing in dict.fromkeys([*found, *sorted(left_out), *_expected(control, objects)]):
        name = thing.partition(":")[0]
        shown, verdict = thing, Verdict.NOT_TESTED
        if thing in found:
            verdict, reason = judge_pair(control, found[thing], whole=thing not in left_out)
        elif name in looked_at:
            reason = _LEFT_OUT
        else:
            shown, reason = f"{name}:*", Reason(code="no_test", text=f"no test of this item looks at {name} objects")
        waiver = None if verdict is Verdict.CONFORM else declared.waiver(control.id, shown, today)
        pairs[shown] = ObjectVerdict(item=control.id, object=shown, verdict=verdict, reason=reason, waiver=waiver)
    return list(pairs.values())


def _item_of(control: Control, pairs: Sequence[ObjectVerdict], declared: Declared, today: date) -> ItemVerdict:
    if pairs:
        verdict, reason = judge_item(pairs)
    else:
        verdict = Verdict.NOT_TESTED
        reason = Reason(code="undeclared", text="only a person can judge it; declare it in controls.yaml")
    waiver = None if verdict is Verdict.CONFORM else declared.waiver(control.id, "*", today)
    return ItemVerdict(item=control.id, verdict=verdict, reason=reason, waiver=waiver)


def conformity_rate(items: Iterable[ItemVerdict]) -> float | None:
    """Conforming items divided by applicable ones, 0 to 1; ``None`` while anything is not tested.

    The 2025 report template counts so (two open implementations agree; whether a partial item counts half is unsure,
    so it counts nothing here).
    """
    counted = [item.verdict for item in items if item.verdict is not Verdict.NOT_APPLICABLE]
    if not counted or Verdict.NOT_TESTED in counted:
        return None
    return counted.count(Verdict.CONFORM) / len(counted)
