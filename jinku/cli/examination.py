# SPDX-License-Identifier: Apache-2.0
"""Runs the control tests, writes the reports and shows what came of them; shared by up, check and report."""

from pathlib import Path

from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.progress import Progress
from jinku.cli.selection import Selection
from jinku.evidence.private import write_private
from jinku.evidence.records import CheckResult, Verdict
from jinku.evidence.run import CheckError, latest_result, new_document, read_result, run_check, write_reports


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
    alike: dict[tuple[str, str, str], list[str]] = {}
    for finding in result.findings:
        alike.setdefault((finding.verdict.value, finding.item, finding.reason.text), []).append(finding.object)
    for (verdict, item, reason), objects in alike.items():
        progress.line(f"{verdict}: {item} on {', '.join(objects)}: {reason}", "red")
    for node, why in result.unreachable.items():
        progress.line(f"{node}: cannot be reached: {why}", "red")
    for report in write(result, env, records.parent):
        progress.line(f"report: {report}", "bold")
    if result.findings:
        return ExitCode.NOT_CONFORM
    return ExitCode.INCOMPLETE if result.broken else ExitCode.OK


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
