# SPDX-License-Identifier: Apache-2.0
"""`jinku flows`: who may reach what, and why."""

import json

import click

from jinku.cli.selection import Selection, environment_option
from jinku.cli.tables import print_table

SCHEMA = "jinku/flows/1"


@click.command("flows")
@environment_option
@click.option("--json", "as_json", is_flag=True, help=f"Print a document of the schema {SCHEMA}.")
def command(env: Selection, as_json: bool) -> None:
    """List every allowed pair of source and destination; whatever is not listed is denied. Works offline."""
    flows = [
        {
            "id": pair.id,
            "source": pair.source,
            "source_networks": [str(network) for network in pair.source_networks],
            "destination": pair.destination,
            "destination_networks": [str(network) for network in pair.destination_networks],
            "protocol": pair.protocol,
            "port": pair.port,
            "why": {"en": pair.en, "zh": pair.zh},
        }
        for pair in env.topology.allowed()
    ]
    if as_json:
        document = {"schema": SCHEMA, "environment": env.environment.name, "flows": flows}
        click.echo(json.dumps(document, ensure_ascii=False, indent=1))
    else:
        columns = ("id", "source", "destination", "protocol", "port")
        rows = [[*(flow[column] for column in columns), flow["why"]["en"]] for flow in flows]  # type: ignore[index]
        print_table((*columns, "why"), rows)
