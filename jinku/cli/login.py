# SPDX-License-Identifier: Apache-2.0
"""`jinku login`: a person's SSH certificate for the next hours, signed by the vault."""

from pathlib import Path

import click

from jinku import people_access
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.selection import Selection, environment_option
from jinku.pki import PkiError
from jinku.ssh_access import is_up
from jinku.vault import Fleet, VaultError, manager, through_the_bastion


@click.command("login")
@environment_option
@click.argument("name")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="NAME's private key, with .pub beside it.  [default: the one that the lab made]",
)
@click.option("--passphrase", is_flag=True, help="Ask for the key's passphrase.")
@click.option(
    "--new-secret",
    type=click.Path(path_type=Path, dir_okay=False),
    help="For the security administrator: make NAME a new one-time-password secret, write it to this file, do nothing else.",
)
def command(env: Selection, name: str, key: Path | None, passphrase: bool, new_secret: Path | None) -> None:
    """Have the vault sign NAME's SSH key for eight hours, and say how to come onto the hosts with it.

    The vault asks for two things: the key, and a code of the app that holds NAME's one-time-password secret. The key itself opens no
    session: it leads to the vault only, which signs it for who is in environment.yaml.
    """
    if not is_up(env.places):
        raise Failure(f"{env.environment.name}: is not up; `jinku up` makes it", ExitCode.PREREQUISITE)
    if new_secret:
        _hand_out(env, name, new_secret)
        return
    secret = click.prompt("passphrase", hide_input=True, err=True).encode() if passphrase else None
    kit = people_access.kit_of(env.topology, env.places, name, key)
    code = people_access.code_of(env.places, name) or click.prompt("one-time code", hide_input=True, err=True)
    try:
        until = people_access.sign(env.topology, env.places, kit, code, secret)
    except (VaultError, PkiError) as error:
        raise Failure(str(error)) from None
    click.echo(f"{name}: certificate until {until}")
    click.echo(f"ssh -F {kit.config} {env.topology.nodes_of('bastion')[0].name}")


def _hand_out(env: Selection, name: str, file: Path) -> None:
    fleet = Fleet.of(env.topology, env.places)
    try:
        with through_the_bastion(fleet) as door, manager(fleet, door) as client:
            people_access.give_second_factor(fleet, client, name, file)
    except VaultError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(
            f"{file}: --new-secret: cannot be written ({error.strerror}); a file in a folder of your own"
        ) from None
    click.echo(
        f"{file}: {name}'s one-time-password secret, as URL for an app; hand it over in person, then delete the file"
    )
