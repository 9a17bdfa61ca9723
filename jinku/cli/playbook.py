# SPDX-License-Identifier: Apache-2.0
"""Runs Ansible on an environment and shows what it does; shared by plan, up and update."""

from jinku import converge
from jinku.cli.progress import Progress
from jinku.cli.selection import Selection
from jinku.converge import Convergence

_SLOWEST = 12


def run(
    env: Selection, arguments: list[str], progress: Progress, *, verbose: bool, file: str = "site.yml"
) -> Convergence:
    """Run the playbook ``file``, with a line for each task that changed something (for every task when ``verbose``)."""

    def show(role: str, task: str, seconds: float | None, changed: int) -> None:
        step = f"{role}: {task}" if role else task
        if seconds is None:
            progress.begin(step)
        else:
            note = f"changed on {changed} host{'s' if changed > 1 else ''}" if changed else ""
            progress.end(step, seconds, note, quiet=not (verbose or changed))

    result = converge.run(env.folder, arguments, show, file)
    for trouble in result.troubles:
        what = (
            "cannot be reached"
            if trouble.unreachable
            else f"{trouble.role}: {trouble.task}"
            if trouble.role
            else trouble.task
        )
        progress.line(f"{trouble.host}: {what}: {trouble.text}", "red")
    if result.code and not result.troubles:
        progress.line("\n".join(result.other[-20:]), "red")
    return result


def show_times(result: Convergence, progress: Progress) -> None:
    """Print the time of each role, the longest first, and of the slowest tasks."""
    progress.line("time per role:", "bold")
    for role, seconds in sorted(result.roles.items(), key=lambda item: -item[1]):
        progress.line(f"{seconds:7.1f} s  {role or '(play)'}")
    progress.line("slowest tasks:", "bold")
    for role, task, seconds in sorted(result.tasks, key=lambda item: -item[2])[:_SLOWEST]:
        progress.line(f"{seconds:7.1f} s  {role}: {task}")


def show_changes(result: Convergence, progress: Progress) -> None:
    """Print how many tasks changed each host, as Ansible counted them."""
    for host, numbers in result.hosts.items():
        bad = numbers.get("failures", 0) + numbers.get("unreachable", 0)
        text = f"{host:10} changed={numbers.get('changed', 0)} ok={numbers.get('ok', 0)} failed={bad}"
        progress.line(text, "red" if bad else None)
