# SPDX-License-Identifier: Apache-2.0
"""`jinku plan`: what `up` would do, and what was changed by hand."""

import click

from jinku import lock, status
from jinku.cli import playbook, sites
from jinku.cli.exit_codes import Failure
from jinku.cli.preflight import preflight
from jinku.cli.progress import Progress
from jinku.cli.selection import Selection, environment_option
from jinku.converge import Convergence
from jinku.ssh_access import is_up, unknown


@click.command("plan")
@environment_option
def command(env: Selection) -> None:
    """Show what `up` would change: hosts, networks and volumes, then every file and setting on the hosts. Changes nothing."""
    preflight(env, starts=False)
    with lock.hold(env.places, "plan", env.environment.timezone), Progress() as progress:
        with progress.stage("hosts, networks and volumes (pulumi preview --refresh)"):
            results = sites.run("preview", env, progress)
            sites.announce_replacements(results, env, progress)
        bad = [f"site {result.site}" for result in results if result.error]
        changes = sum(result.changed for result in results)
        if is_up(env.places):
            new = unknown(env.topology, env.places)
            for name in new:
                progress.line(f"{name}: new: up will make and configure it", "yellow")
            dead = _dead_sites(env, progress)
            without = [*(f"!{name}" for name in new), *(f"!site_{site}" for site in dead)]
            limit = ["--limit", ":".join(["all", *without])] if without else []
            bad += [f"hosts of site {site}" for site in dead]
            with progress.stage("files and settings (ansible-playbook --check --diff)"):
                convergence = playbook.run(env, ["--check", "--diff", *limit], progress, verbose=False)
                _show(convergence, progress)
            bad += sorted({trouble.host for trouble in convergence.troubles}) or (
                ["ansible-playbook"] if convergence.code else []
            )
            changes += sum(convergence.changed.values()) + len(new)
        else:
            progress.line("no host is up yet: `jinku up` would make them and configure them all")
        progress.line(f"{changes} changes to make" if changes else "nothing to change")
    if bad:
        raise Failure(f"could not be looked at in full: {', '.join(bad)}")


def _dead_sites(env: Selection, progress: Progress) -> list[str]:
    """Sites of which no node answers: the others are looked at without waiting for each of their hosts in turn."""
    nodes = [
        node for node in status.look(env.topology, env.places) if node.name not in unknown(env.topology, env.places)
    ]
    dead = []
    for site in sorted({node.site for node in nodes}):
        here = [node for node in nodes if node.site == site]
        if not any(node.reachable for node in here):
            dead.append(site)
            progress.line(
                f"site {site}: none of its {len(here)} nodes answers ({here[0].error}); only the other site is looked at",
                "red",
            )
    return dead if len(dead) < len({node.site for node in nodes}) else []


def _show(convergence: Convergence, progress: Progress) -> None:
    for change in convergence.changes:
        where = f"{change.host}: {change.role}: {change.task}"
        progress.line(f"{where}: {', '.join(change.paths)}" if change.paths else where, "yellow")
        if change.diff:
            progress.line(change.diff.rstrip())
