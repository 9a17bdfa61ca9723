# SPDX-License-Identifier: Apache-2.0
"""`jinku rejoin`: a database becomes a standby of the other site's primary."""

import click

from jinku import replication
from jinku.cli import pair
from jinku.cli.selection import Selection, environment_option


@click.command("rejoin")
@environment_option
@click.argument("site")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(env: Selection, site: str, yes: bool) -> None:
    """Make the database of SITE a standby of the other site's primary, by a copy of it.

    For an old primary after its site was lost, and for a standby that can no longer follow. Its own data is moved aside on its
    volume, never deleted. Failback is `jinku rejoin a`, then `jinku promote a`.
    """
    what = f"This moves the data of the database of site {site} aside and copies the other site's (environment {env.environment.name})."
    with pair.changed("rejoin", env, site, what, yes=yes) as tell:
        replication.rejoin(env.topology, env.places, site, tell=tell)
