# SPDX-License-Identifier: Apache-2.0
"""`jinku flows`: who may reach what, and why."""

import json

import click

from jinku.cli.selection import Selection, environment_option
from jinku.cli.tables import print_table
from jinku.model.flow_sheet import flow_rows

SCHEMA = "jinku/flows/1"


@click.command("flows")
@environment_option
@click.option("--json", "as_json", is_flag=True, help=f"Print a document of the schema {SCHEMA}.")
def command(env: Selection, as_json: bool) -> None:
    """List every allowed pair of source and destination; whatever is not listed is denied. Works offline."""
    flows = flow_rows(env.topology)
    if as_json:
        document = {"schema": SCHEMA, "environment": env.environment.name, "flows": flows}
        click.echo(json.dumps(document, ensure_ascii=False, indent=1))
    else:
        rows = [
            [flow["id"], flow["source"], flow["destination"], flow["protocol"], flow["port"], flow["why"]["en"]]
            for flow in flows
        ]
        print_table(("id", "source", "destination", "protocol", "port", "why"), rows)
