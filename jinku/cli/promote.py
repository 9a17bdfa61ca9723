# SPDX-License-Identifier: Apache-2.0
"""`jinku promote`: the database of the other site becomes the primary."""

import click

from jinku import replication
from jinku.cli import pair
from jinku.cli.selection import Selection, environment_option


@click.command("promote")
@environment_option
@click.argument("site")
@click.option("--lost", is_flag=True, help="The other site is dead: give up what it had not sent.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(env: Selection, site: str, lost: bool, yes: bool) -> None:
    """Make the database of SITE the primary, in order where the other one answers: then nothing is lost.

    Refused while the other one is alive and cannot be stopped. Where it cannot be reached at all, --lost says that somebody
    has made sure that it is dead. The same command again finishes what was interrupted.
    """
    what = f"This makes the database of site {site} the primary of the environment {env.environment.name}."
    if lost:
        what += " What the other one had not sent is given up."
    with pair.changed("promote", env, site, what, yes=yes, about={"lost": lost}) as tell:
        replication.promote(env.topology, env.places, site, lost=lost, tell=tell)
