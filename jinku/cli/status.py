# SPDX-License-Identifier: Apache-2.0
"""`jinku status`: what runs right now."""

import click

from jinku import backups, status
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.selection import Selection, environment_option
from jinku.cli.tables import print_table
from jinku.ssh_access import is_up


@click.command("status")
@environment_option
@click.option("--json", "as_json", is_flag=True, help=f"Print a document of the schema {status.SCHEMA}.")
def command(env: Selection, as_json: bool) -> None:
    """Ask every host whether it is reachable and healthy and whether its services listen. Ends with 1 if one is not."""
    if not is_up(env.places):
        raise Failure(f"{env.environment.name}: is not up; `jinku up` makes it", ExitCode.PREREQUISITE)
    nodes = status.look(env.topology, env.places)
    copies = backups.newest(env.topology, env.places)
    if as_json:
        click.echo(status.document(env.environment.name, nodes, copies))
    else:
        rows = [
            (
                node.site,
                node.name,
                node.tiers,
                node.state,
                [f"{name}{'' if up else ' DOWN'}" for name, up in node.services.items()],
                [f"{name}: {how}" for name, how in node.volumes.items()],
                node.failed_units,
                node.up_since,
            )
            for node in nodes
        ]
        print_table(("site", "node", "tiers", "state", "services", "volumes", "failed units", "up since"), rows)
        if copies:
            click.echo()
            print_table(("backup host", "kind", "newest copy"), [(one.node, one.kind, one.finished) for one in copies])
    bad = [node.name for node in nodes if not node.healthy]
    if bad:
        raise Failure(f"not healthy: {', '.join(bad)}")
