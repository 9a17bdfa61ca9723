# SPDX-License-Identifier: Apache-2.0
"""`jinku contact`: the first contact with hosts that exist."""

import sys
from collections.abc import Callable

import click

from jinku import ssh_access
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.selection import Selection, environment_option
from jinku.doctor import Level
from jinku.existing import contact, findings
from jinku.model import Node


@click.command("contact")
@environment_option
@click.option("--retire", is_flag=True, help="Remove the owner's account (existing.user) from hosts that are up.")
def command(env: Selection, retire: bool) -> None:
    """Get on to hosts that exist (backend existing): confirm their keys, make the automation account, take the disks.

    Shows the fingerprint of each key that nobody has confirmed and asks; those whose fingerprint stands in
    environment.yaml are not asked for. Hosts that lack something are refused, and nothing is made on them. `jinku up` does
    the same for new hosts whose keys are known. When the environment is up, the owner's account opens no door any more and
    is a finding of the check; --retire removes it and keeps its files.
    """
    if env.environment.backend != "existing":
        raise Failure(
            f"{env.file}: backend: is {env.environment.backend}, which makes its own hosts; existing", ExitCode.USAGE
        )
    with env.hold("contact"):
        if retire:
            _retire(env)
            return
        ssh_access.use_automation_key(env.topology, env.places)
        nodes = list(env.topology.nodes)
        contact.confirm_keys(env.topology, env.places, env.folder, nodes, _confirmed)
        lacks = [
            one for one in findings.look(env.topology, env.places, env.folder, nodes) if one.level is Level.MISSING
        ]
        bad = {lack.host for lack in lacks}
        errors = [f"{lack.where}: {lack.text}; {lack.remedy}" for lack in lacks]
        try:
            make(env, [node for node in nodes if node.name not in bad], click.echo)
        except Failure as failure:
            errors.append(str(failure))
    if errors:
        raise Failure("\n".join(errors), ExitCode.PREREQUISITE)


def make(env: Selection, nodes: list[Node], tell: Callable[[str], None]) -> None:
    """Contact hosts that lack nothing and tell what was made. :raises Failure: one was refused; the others keep their account."""
    contact.confirm_keys(env.topology, env.places, env.folder, nodes, None)  # those whose fingerprint is given
    _tell(contact.make(env.topology, env.places, env.folder, nodes), tell)


def _retire(env: Selection) -> None:
    """Remove the owner's account. :raises Failure: it is root or a person's, or a host still needs it."""
    owner = env.environment.existing.user
    if owner == "root" or owner in {operator.name for operator in env.environment.operators}:
        raise Failure(
            f"{env.file}: existing.user: {owner!r} is no account that goes; one that only prepared the hosts",
            ExitCode.USAGE,
        )
    _tell(contact.retire(env.topology, env.places, env.folder, list(env.topology.nodes)), click.echo)
    click.echo("`jinku up` now takes the change into the integrity database, and checks")


def _tell(done: list[contact.Contact], tell: Callable[[str], None]) -> None:
    for one in done:
        for text in one.done:
            tell(f"{one.node}: {text}")
    if errors := [f"{one.node}: {one.error}" for one in done if one.error]:
        raise Failure("\n".join(errors), ExitCode.PREREQUISITE)


def _confirmed(node: Node, fingerprint: str) -> bool:
    """Ask the person; whoever types anything but yes, and nobody at all, has said no."""
    click.echo(
        f"{node.name} ({node.address}) offers {fingerprint}\nIs that its own (ssh-keygen -lf on its console)? Type yes: ",
        nl=False,
    )
    return sys.stdin.readline().strip() == "yes"
