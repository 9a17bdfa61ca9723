# SPDX-License-Identifier: Apache-2.0
"""`jinku nodes`: what the environment consists of."""

import json

import click

from jinku.cli.listing import Listing
from jinku.cli.selection import Selection, environment_option
from jinku.cli.tables import print_table

SCHEMA = "jinku/nodes/1"


@click.command("nodes", cls=Listing)
@environment_option
@click.option("--json", "as_json", is_flag=True, help=f"Print a document of the schema {SCHEMA}.")
def command(env: Selection, as_json: bool) -> None:
    """List the nodes: name, site, zone, tiers, address. Works offline."""
    nodes = [
        {
            "name": node.name,
            "fqdn": node.fqdn,
            "site": node.site,
            "zone": node.zone,
            "tiers": list(node.tiers),
            "address": str(node.address),
            "address6": str(node.address6) if node.address6 else None,
            "volumes": [
                {"name": volume.name, "mount": volume.mount, "size_gib": volume.size_gib} for volume in node.volumes
            ],
        }
        for node in env.topology.nodes
    ]
    if as_json:
        document = {"schema": SCHEMA, "environment": env.environment.name, "nodes": nodes}
        click.echo(json.dumps(document, ensure_ascii=False, indent=1))
    else:
        columns = ("name", "site", "zone", "tiers", "address", "address6")
        print_table(columns, [[node[column] for column in columns] for node in nodes])
