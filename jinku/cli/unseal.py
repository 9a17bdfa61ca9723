# SPDX-License-Identifier: Apache-2.0
"""`jinku unseal`: each operator gives a share of the vault's key, until it opens."""

import re
import sys

import click

from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.selection import Selection, environment_option
from jinku.holders import rekey_file
from jinku.ssh_access import is_up
from jinku.vault import Fleet, VaultError, through_the_bastion
from jinku.vault.shares import give, seal_of

#: Characters; a share has 66, and a whole disk that somebody redirects is none.
_LONGEST = 1024


@click.command("unseal")
@environment_option
def command(env: Selection) -> None:
    """Give one share of the vault's key, from standard input or typed unseen; nothing is written down.

    An operator whose OpenPGP key stands in environment.yaml decrypts the own share:
    `gpg --decrypt STATE/vault/share.NAME.gpg | jinku unseal`. Ends with 0 when the vault is open, with 6 while more shares
    are needed.
    """
    if not is_up(env.places):
        raise Failure(f"{env.environment.name}: is not up; `jinku up` first", ExitCode.PREREQUISITE)
    try:
        with through_the_bastion(Fleet.of(env.topology, env.places)) as door:
            seal = seal_of(door)
            if seal.sealed and seal.by != "shamir":
                raise Failure(
                    f"{door.server_name}: opens by a key on its host ({seal.by}), not by shares; look at its log there"
                )
            if seal.sealed:
                seal = give(door, asked_share(f"share {seal.given + 1} of {seal.needed}"))
            if not seal.sealed:
                door.wait_until_active()
                click.echo(f"{door.server_name}: is open")
                return
    except VaultError as error:
        # Its answer to the last new share may not have reached us, so both sets are kept.
        begun = rekey_file(env.places.vault).exists()
        more = "; a rekey is not ended: if these do not fit, the new shares do (new-share.NAME.gpg)" if begun else ""
        raise Failure(f"{error}{more}") from None
    raise Failure(f"sealed: {seal.given} of {seal.needed} shares given; the next operator's share", ExitCode.INCOMPLETE)


def asked_share(prompt: str) -> str:
    """One share from standard input, or typed unseen. :raises Failure: standard input is empty, or no such text."""
    if sys.stdin.isatty():
        return str(click.prompt(prompt, hide_input=True, err=True)).strip()
    try:
        text = sys.stdin.readline(_LONGEST).strip()
    except UnicodeDecodeError:
        text = "\0"
    if not text:
        raise Failure("standard input: is empty; a decrypted share, as one line", ExitCode.USAGE)
    if not re.fullmatch(r"[0-9A-Za-z+/]+={0,2}", text):
        words = "is no share, which is hexadecimal or base64; what `gpg --decrypt` prints of the file"
        raise Failure(f"standard input: {words}", ExitCode.USAGE)
    return text
