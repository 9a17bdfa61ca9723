# SPDX-License-Identifier: Apache-2.0
"""`jinku check`: the control tests."""

from pathlib import Path
from tempfile import TemporaryFile

import click

from jinku.cli import examination
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.given_paths import writes
from jinku.cli.preflight import declared
from jinku.cli.progress import Progress
from jinku.cli.selection import Selection, environment_option
from jinku.ssh_access import is_up

#: How a check ends that is not whole and right.
_ENDS = {
    ExitCode.NOT_CONFORM: "check: at least one finding that nobody has waived; the report says which, and what was seen",
    ExitCode.INCOMPLETE: "check: no finding, but some test could not judge; the report says which and why, then `jinku check` again",
}


@click.command("check")
@environment_option
@click.option(
    "--json",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write records and verdicts (schema jinku/check/1) to FILE.",
)
@click.option("--node", "nodes", multiple=True, metavar="NODE", help="Look at this node only; may be repeated.")
@click.option(
    "--read-only",
    is_flag=True,
    help="Look at settings and try nothing: some twenty seconds, no login that fails, no trial in the CRM; no item is proven by it.",
)
def command(env: Selection, target: Path | None, nodes: tuple[str, ...], read_only: bool) -> None:
    """Run the control tests against the running environment, and write the report.

    What a test tries, it takes back; what stays are lines in the logs.
    """
    known = {node.name for node in env.topology.nodes}
    for node in nodes:
        if node not in known:
            raise Failure(f"--node: there is no node {node!r}; one of {', '.join(sorted(known))}", ExitCode.USAGE)
    declared(env)
    if not is_up(env.places):
        raise Failure(f"{env.environment.name}: is not up; `jinku up` first", ExitCode.PREREQUISITE)
    if target:
        with writes(target, "--json"), TemporaryFile(dir=target.parent):  # minutes before it is written
            pass
    with Progress() as progress, progress.stage("check"):
        code = examination.run(env, progress, nodes, target, read_only=read_only)
    if code:
        raise Failure(_ENDS[code], code)
