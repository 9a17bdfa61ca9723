# SPDX-License-Identifier: Apache-2.0
"""`jinku report`: the report of a check that was made, written anew from its records."""

from pathlib import Path

import click

from jinku.cli import examination
from jinku.cli.selection import Selection, environment_option


@click.command("report")
@environment_option
@click.argument("records", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def command(env: Selection, records: Path | None) -> None:
    """Write the report (zh and en, self-contained HTML) of RECORDS, else of the newest whole check, and print where it is."""
    result, folder = examination.read(env, records)
    for path in examination.write(result, env, folder):
        click.echo(path)
