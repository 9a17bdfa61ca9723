# SPDX-License-Identifier: Apache-2.0
"""Runs the control tests, writes the reports and shows what came of them; shared by up, check and report."""

from collections.abc import Iterable
from pathlib import Path

from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.progress import Progress
from jinku.cli.selection import Selection
from jinku.evidence.private import write_private
from jinku.evidence.records import CheckResult, ObjectVerdict, Verdict
from jinku.evidence.run import CheckError, latest_result, new_document, read_result, run_check, write_reports

# Lines on the terminal of what could not be judged; the report has them all.
_UNJUDGED_LINES = 10


def run(
    env: Selection,
    progress: Progress,
    nodes: tuple[str, ...] = (),
    target: Path | None = None,
    *,
    read_only: bool = False,
) -> ExitCode:
    """Check the environment, and print the numbers, the findings and where the reports are.

    :param nodes: look at these nodes only; all when empty.
    :param read_only: look at settings only, and try nothing.
    :param target: also write the document ``jinku/check/1`` there.
    :returns: OK, NOT_CONFORM or INCOMPLETE.
    :raises Failure: the check could not be made at all.
    """
    step = f"control tests{' of settings' if read_only else ''} on {len(nodes) or len(env.topology.nodes)} hosts"
    progress.begin(step)
    try:
        records = new_document(env.places, whole=not (nodes or read_only))
        result = run_check(
            env.places,
            env.folder,
            records,
            nodes=nodes,
            read_only=read_only,
            so_far=lambda percent: progress.so_far(step, percent),
        )
    except CheckError as error:
        raise Failure(str(error)) from None
    progress.end(step, (result.ended - result.started).total_seconds(), f"{len(result.records)} records")
    if target:
        write_private(target, records.read_text(encoding="utf-8"))
    counted = result.count()
    progress.line("items: " + ", ".join(f"{counted[verdict]} {verdict.value}" for verdict in Verdict))
    if read_only:
        progress.line(f"{_settings(result)}; nothing was tried, so nothing is proven: `jinku check` does both")
    if undeclared := result.undeclared():
        progress.line(
            f"{undeclared} of those not tested only a person can judge, and {env.folder / 'controls.yaml'} says nothing of them"
        )
    if incomplete := result.incomplete():
        progress.line(
            f"{len(incomplete)} of those not tested have tests of one side or of some objects only: {', '.join(incomplete)}"
        )
    for line in _lines(result.findings):
        progress.line(line, "red")
    for line in unjudged(result):
        progress.line(line)
    for node, why in result.unreachable.items():
        progress.line(f"{node}: cannot be reached: {why}", "red")
    for report in write(result, env, records.parent):
        progress.line(f"report: {report}", "bold")
    if result.findings:
        return ExitCode.NOT_CONFORM
    return ExitCode.INCOMPLETE if result.broken else ExitCode.OK


def _lines(pairs: Iterable[ObjectVerdict]) -> list[str]:
    """One line for each item and reason, with all the objects of which it is said."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for pair in pairs:
        alike.setdefault((pair.verdict.value, pair.item, pair.reason.text), []).append(pair.object)
    return [
        f"{verdict}: {item} on {', '.join(objects)}: {reason}" for (verdict, item, reason), objects in alike.items()
    ]


def unjudged(result: CheckResult) -> list[str]:
    """What tests looked at and could not judge, in some lines.

    A host that cannot be reached has its own line, and is not told again for each item. Another framework's item is told
    only if no Dengbao item tells of the same object the same thing, as in the report.
    """
    nodes = {thing.id: thing.node for thing in result.objects}
    pairs = [pair for pair in result.unjudged if nodes.get(pair.object) not in result.unreachable]
    told = {(pair.object, pair.reason.text) for pair in pairs if pair.item.startswith("dengbao:")}
    lines = _lines(p for p in pairs if p.item.startswith("dengbao:") or (p.object, p.reason.text) not in told)
    more = len(lines) - _UNJUDGED_LINES
    return lines if more <= 0 else [*lines[:_UNJUDGED_LINES], f"... and {more} more not tested, in the report"]


def _settings(result: CheckResult) -> str:
    """What a check of settings found, in numbers: an item's verdict needs more than that."""
    seen = {(record.test, record.object): record.verdict for record in result.records}
    right, wrong = (sum(said is verdict for said in seen.values()) for verdict in (Verdict.CONFORM, Verdict.NONCONFORM))
    rest = len(seen) - right - wrong
    return f"settings: {right} right, {wrong} wrong" + (f", {rest} not looked at" if rest else "")


def write(result: CheckResult, env: Selection, folder: Path) -> list[Path]:
    """Write the report in both languages into ``folder``; the language of the environment's CRM comes first."""
    written = write_reports(result, folder)
    first = env.environment.crm.languages[0].split("_")[0]
    return [path for _, path in sorted(written.items(), key=lambda item: item[0] != first)]


def read(env: Selection, records: Path | None) -> tuple[CheckResult, Path]:
    """Read a check's document, the newest when none is named.

    :raises Failure: there is none, or it is no such document.
    """
    source = records or latest_result(env.places)
    if source is None:
        raise Failure(f"{env.places.reports}: there is no check yet; `jinku check` makes one", ExitCode.USAGE)
    try:
        return read_result(source), source.resolve().parent
    except CheckError as error:
        raise Failure(str(error), ExitCode.USAGE) from None
