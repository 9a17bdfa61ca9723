# SPDX-License-Identifier: Apache-2.0
"""`jinku status`: what runs right now."""

import click

from jinku import backups, clock, replication, status
from jinku.cli import secret
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.listing import Listing
from jinku.cli.selection import Selection, environment_option
from jinku.cli.tables import print_table
from jinku.holders import words_on_shares
from jinku.ssh_access import is_up


@click.command("status", cls=Listing)
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
        zone = env.environment.timezone
        rows = [
            (
                node.site,
                node.name,
                node.tiers,
                node.state,
                [f"{name}{'' if up else ' DOWN'}" for name, up in node.services.items()],
                [f"{name}: {how}" for name, how in node.volumes.items()],
                node.failed_units,
                replication.words(node.database) if node.database else "",
                clock.told(node.up_since, zone),
            )
            for node in nodes
        ]
        titles = ("site", "node", "tiers", "state", "services", "volumes", "failed units", "database", "up since")
        print_table(titles, rows)
        if copies:
            click.echo()
            shown = [(one.node, one.kind, clock.told(one.finished, zone)) for one in copies]
            print_table(("backup host", "kind", "newest copy"), shown)
            click.echo()
        for line in (*_sites(nodes), *(secret.lacking(env) if _open(nodes) else ())):
            click.echo(line)
    for line in words_on_shares(env.places.vault, env.present):
        click.echo(line, err=True)  # no part of the document
    bad = [node.name for node in nodes if not node.healthy]
    if len(leading := status.primaries(nodes)) > 1:
        raise Failure(
            f"{' and '.join(leading)}: the database is a primary on each, and neither has what is written to the other; look at both,"
            " stop the one that shall follow (`jinku ssh NODE -- sudo systemctl stop postgresql@17-main`), then `jinku rejoin SITE` for its"
            " site: that copies the other one and moves its data aside"
        )
    if bad:
        raise Failure(f"not healthy: {', '.join(bad)}")


def _open(nodes: list[status.NodeStatus]) -> bool:
    """Whether the vault can be asked without waiting for somebody who is not there."""
    way = [node for node in nodes if {"vault", "bastion"} & set(node.tiers)]
    return all(node.reachable and not node.sealed for node in way)


def _sites(nodes: list[status.NodeStatus]) -> list[str]:
    """A line for each site, and what to do when one of them is gone."""
    lines = []
    for site in sorted({node.site for node in nodes}):
        here = [node for node in nodes if node.site == site]
        answer, healthy = sum(node.reachable for node in here), sum(node.healthy for node in here)
        lines.append(f"site {site}: {answer} of {len(here)} nodes answer, {healthy} are healthy")
        primary = any(node.database.get("role") == "primary" for node in nodes)
        standby = next((node.site for node in nodes if node.database.get("role") == "standby"), "")
        if not answer and standby and not primary:
            lines.append(
                f"site {site} is not there, and no primary of the database answers: `jinku promote {standby}`, docs/runbooks/site-lost"
            )
    return lines
