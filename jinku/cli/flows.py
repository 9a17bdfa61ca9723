# SPDX-License-Identifier: Apache-2.0
"""`jinku flows`: who may reach what, and why."""

import json
from pathlib import Path

import click

from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.listing import Listing
from jinku.cli.selection import Selection, environment_option
from jinku.cli.tables import print_table
from jinku.model.flow_sheet import flow_rows, flow_sheet_csv, flow_sheet_xlsx

SCHEMA = "jinku/flows/1"


@click.command("flows", cls=Listing)
@environment_option
@click.option("--json", "as_json", is_flag=True, help=f"Print a document of the schema {SCHEMA}.")
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    metavar="FILE.xlsx|FILE.csv",
    help="Write the request for firewalls that Jinku does not manage, in Chinese and English, for the network team.",
)
def command(env: Selection, as_json: bool, sheet: Path | None) -> None:
    """List every allowed pair of source and destination; whatever is not listed is denied. Works offline."""
    if sheet:
        _write(env, sheet)
        return
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


def _write(env: Selection, sheet: Path) -> None:
    """Write the request sheet in the form that the file's name asks for. :raises Failure: it cannot be written so."""
    kind = sheet.suffix.lower()
    if kind not in {".xlsx", ".csv"}:
        raise Failure(f"{sheet}: --sheet: is neither .xlsx nor .csv; a name with one of these endings", ExitCode.USAGE)
    try:
        if kind == ".csv":
            sheet.write_bytes(flow_sheet_csv(env.topology).encode())
        else:
            sheet.write_bytes(flow_sheet_xlsx(env.topology))
    except OSError as error:
        raise Failure(
            f"{sheet}: --sheet: {error.strerror}; a file in a folder that can be written", ExitCode.USAGE
        ) from None
    click.echo(f"{sheet}: {len(env.topology.allowed())} rows")
