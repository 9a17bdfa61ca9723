# SPDX-License-Identifier: Apache-2.0
"""`jinku secret`: the accounts of the owner's own devices, in the vault."""

import json
import sys

import click

from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.listing import Listing
from jinku.cli.selection import Selection, environment_option
from jinku.cli.tables import print_table
from jinku.pki import PkiError
from jinku.ssh_access import is_up
from jinku.vault import Fleet, VaultError, owner_secrets
from jinku.vault.owner_secrets import LARGEST, SECRETS, Given, Need, OwnerSecret, need_of, readers

SCHEMA = "jinku/secrets/1"
NAMES = ", ".join(secret.name for secret in SECRETS)


@click.group("secret")
def command() -> None:
    """Accounts of your own devices in the vault: which are needed, and putting one there. No verb shows them again."""


@command.command("list", cls=Listing)
@environment_option
@click.option("--json", "as_json", is_flag=True, help=f"Print a document of the schema {SCHEMA}.")
def listed(env: Selection, as_json: bool) -> None:
    """List what the environment needs and whether it is in the vault, never a value. Ends with 1 if one is missing."""
    found = _there(env)
    if as_json:
        rows = [
            {"name": one.name, "path": one.path, "keys": one.keys, "from": need_of(one, env.topology).name.lower()}
            for one in SECRETS
        ]
        secrets = [{**row, "there": row["name"] in found} for row in rows]
        click.echo(json.dumps({"schema": SCHEMA, "environment": env.environment.name, "secrets": secrets}, indent=1))
    else:
        print_table(
            ("secret", "what", "comes from", "in the vault", "keys"),
            [
                (one.name, one.what, need_of(one, env.topology), "yes" if one.name in found else "no", one.keys)
                for one in SECRETS
            ],
        )
    if lines := _missing(env, found):
        raise Failure("\n".join(lines))


@command.command("put")
@environment_option
@click.argument("words", metavar="NAME", nargs=-1, required=True)
def put(env: Selection, words: tuple[str, ...]) -> None:
    """Put a secret into the vault, as a whole; one that is there is replaced.

    NAME is room (user, authentication, privacy: SNMPv3 with SHA-256 and AES) or ups (user, password). On a terminal each value is
    asked for twice and not shown. Else standard input holds a JSON object or lines key=value:
    `pass show room | jinku secret put room`. What is wrong is told all at once, before the vault is asked. No value is ever an argument.
    """
    secret = _named(words)
    _demand_up(env)
    given = None if sys.stdin.isatty() else sys.stdin.buffer.read(LARGEST + 1)
    values = _asked(secret) if given is None else owner_secrets.read(secret, given)
    try:
        with owner_secrets.opened(Fleet.of(env.topology, env.places)) as client:
            replaced = owner_secrets.put(client, secret, values)
    except (VaultError, PkiError) as error:
        raise Failure(str(error)) from None
    click.echo(f"{secret.name}: {secret.what} {'is replaced' if replaced else 'is'} in the vault ({secret.path})")
    click.echo(_next(env, secret))


def lacking(env: Selection) -> list[str]:
    """A line for each secret that the owner has not put into the vault; none where that cannot be asked, which others tell."""
    if all(need_of(secret, env.topology) is not Need.OWNER for secret in SECRETS):
        return []
    try:
        return _missing(env, _there(env))
    except Failure:
        return []


def _missing(env: Selection, found: set[str]) -> list[str]:
    return [
        f"{one.name}: {one.what} ({one.field}) is not in the vault; `jinku secret put {one.name}`"
        for one in SECRETS
        if need_of(one, env.topology) is Need.OWNER and one.name not in found
    ]


def _there(env: Selection) -> set[str]:
    _demand_up(env)
    try:
        with owner_secrets.opened(Fleet.of(env.topology, env.places)) as client:
            return owner_secrets.there(client)
    except (VaultError, PkiError) as error:
        raise Failure(str(error)) from None


def _demand_up(env: Selection) -> None:
    if not is_up(env.places):
        raise Failure(f"{env.environment.name}: is not up; `jinku up` makes it", ExitCode.PREREQUISITE)


def _named(words: tuple[str, ...]) -> OwnerSecret:
    """The secret of that name. What was written instead is not repeated: it may be the secret itself."""
    if len(words) > 1:
        wrong = "more than a name was given, and stands in the shell's history now"
        right = "the name alone; values are asked for, or come from standard input"
        raise Failure(f"secret put: NAME: {wrong}; {right}", ExitCode.USAGE)
    for secret in SECRETS:
        if secret.name == words[0]:
            return secret
    raise Failure(f"secret put: NAME: is none that is known; one of {NAMES}", ExitCode.USAGE)


def _asked(secret: OwnerSecret) -> dict[str, str]:
    """Ask a person; twice, for nobody can look at it afterwards."""
    click.echo(f"{secret.what}; what is typed is not shown", err=True)
    given = []
    for part in secret.parts:
        click.echo(f"{part.key}: {part.right}", err=True)
        value = click.prompt(part.key, hide_input=True, confirmation_prompt=True, err=True)
        given.append(Given(part.key, part.key, value))
    return owner_secrets.checked(secret, given)


def _next(env: Selection, secret: OwnerSecret) -> str:
    """What happens now, and how to see it."""
    names = readers(secret, env.topology)
    if not names:
        return f"nobody fetches it: {secret.field} names nothing; write it into {env.file}, then `jinku up`"
    look = {
        "room": f"no SensorSilent is left: `jinku ssh {names[0]} -- sudo amtool alert`",
        "ups": f"the host listens: `jinku ssh {names[0]} -- sudo journalctl -u nut-monitor -n 20`",
    }[secret.name]
    return f"the agents of {', '.join(names)} fetch it within minutes; then {look}"
