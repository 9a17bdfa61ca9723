# SPDX-License-Identifier: Apache-2.0
"""`jinku update`: package updates roll through the hosts, one at a time."""

import time

import click

from jinku import journal, updates
from jinku.cli import playbook
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.progress import Progress
from jinku.cli.selection import Selection, environment_option
from jinku.cli.tables import print_table
from jinku.model import Node
from jinku.model.people import accounts_on
from jinku.model.update_order import update_order
from jinku.ssh_access import is_up

PLAYBOOK = "update.yml"


@click.command("update")
@environment_option
@click.option("--node", "names", metavar="NODE", multiple=True, help="Only this host; may be repeated.")
@click.option("--list", "only_list", is_flag=True, help="Show which packages wait on each host, and change none.")
def command(env: Selection, names: tuple[str, ...], only_list: bool) -> None:
    """Bring the hosts' packages up to date, one host at a time.

    Begins only when everything is well, and goes to the next host only when everything is well again: the other site and standbys
    first, then what others depend on, each by itself. Programs that run old code are restarted; a machine only where
    environment.yaml says `updates: {reboot: true}`.
    Where a host does not become well the roll stops; the same command again goes on from there.
    """
    known = {node.name for node in env.topology.nodes}
    if unknown := [name for name in names if name not in known]:
        text = f"--node: there is no node {unknown[0]!r}; one of {', '.join(sorted(known))}"
        raise Failure(f"{env.environment.name}: {text}", ExitCode.USAGE)
    if not is_up(env.places):
        raise Failure(f"{env.environment.name}: is not up; `jinku up` makes it", ExitCode.PREREQUISITE)
    if only_list:
        _list(env, names)
        return
    with env.hold("update"), Progress() as progress:
        _roll(env, names, progress)


def _order(env: Selection, names: tuple[str, ...]) -> list[Node]:
    """The nodes of that name, or all, in the order of their update."""
    order = update_order(env.topology, updates.primaries(env.topology, env.places))
    return [node for node in order if not names or node.name in names]


def _list(env: Selection, names: tuple[str, ...]) -> None:
    found = updates.look(env.places, _order(env, names), fresh=True)
    rows = [
        (one.node, package.name, package.old, package.new, "yes" if package.security else "no")
        for one in found
        for package in one.packages
    ]
    if rows:
        print_table(("node", "package", "from", "to", "security"), rows)
    for one in found:
        if not one.error:
            click.echo(f"{one.node}: {one}")
    for one in found:
        if one.held:
            click.echo(_on_hold(env, one))
    if mute := [f"{one.node}: {one.error}" for one in found if one.error]:
        raise Failure("\n".join(mute))


def _on_hold(env: Selection, waiting: updates.Waiting) -> str:
    accounts = accounts_on(env.environment, env.topology.node(waiting.node))
    return updates.on_hold(waiting, [person.name for person in accounts if person.duty == "system"])


def _roll(env: Selection, names: tuple[str, ...], progress: Progress) -> None:
    def change(node: Node) -> str:
        result = playbook.run(env, ["--limit", node.name], progress, verbose=False, file=PLAYBOOK)
        if not result.code:
            return ""
        # One line of each: all that was said has been printed where it happened.
        told = (f"{one.task}: {one.text.partition(chr(10))[0]}" for one in result.troubles)
        return "; ".join(told) or "ansible-playbook failed"

    hands = updates.Hands(
        look=lambda nodes, fresh: updates.look(env.places, nodes, fresh=fresh),
        well=lambda seconds: updates.well(env.topology, env.places, seconds, progress.line),
        versions=lambda node: updates.versions(env.places, node),
        change=change,
    )
    begun, error = time.monotonic(), "interrupted"
    roll = updates.Roll(_order(env, names), hands, progress.line, reboot=env.environment.updates.reboot)
    try:
        _hosts(env, roll, progress)
        error = ""
    except (updates.RefusedError, updates.StoppedError) as stopped:
        error = str(stopped)
        raise Failure(error) from None
    finally:
        seconds = round(time.monotonic() - begun, 1)
        hosts = [done.as_json() for done in roll.done]
        result = {"ok": not error, "seconds": seconds, "hosts": hosts, "error": error}
        try:
            journal.write(env.places, "update", env.file, result)
        except FileNotFoundError:
            changed = ", ".join(done.node for done in roll.done) or "none"
            text = f"is gone since this began, and what was done stands in no journal (hosts begun: {changed}); put it back, then run the same command again"
            raise Failure("\n".join([*([error] if error else []), f"{env.places.state}: {text}"])) from None


def _hosts(env: Selection, roll: updates.Roll, progress: Progress) -> None:
    with progress.stage("is everything well, and what waits"):
        todo = roll.waiting()
        for node, waiting in todo:
            progress.line(f"{node.name}: {waiting}")
        for one in roll.holding:
            progress.line(_on_hold(env, one), "yellow")
    for number, (node, waiting) in enumerate(todo):
        with progress.stage(f"host {node.name} ({number + 1} of {len(todo)})"):
            roll.host(node, waiting, [one for one, _ in todo[number + 1 :]])
    if not todo:
        progress.line(f"nothing to update{' but what is on hold' if any(one.kept for one in roll.holding) else ''}")
        return
    progress.line("time per host:", "bold")
    for done in roll.done:
        progress.line(f"{done.seconds:7.1f} s  {done.node}: packages changed: {len(done.changed)}")
    if waits := [done.node for done in roll.done if done.reboot]:
        progress.line(f"restart these machines when it suits: {', '.join(waits)}", "yellow")
    if roll.holding:
        nodes = ", ".join(one.node for one in roll.holding)
        progress.line(f"packages on hold were left as they are (see above): {nodes}", "yellow")
