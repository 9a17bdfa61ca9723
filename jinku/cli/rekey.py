# SPDX-License-Identifier: Apache-2.0
"""`jinku rekey`: new shares of the vault's key for the operators who are here, and the old ones are void."""

import click

from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.selection import Selection, environment_option
from jinku.cli.unseal import asked_share
from jinku.pki import PkiError
from jinku.ssh_access import is_up
from jinku.vault import Fleet, VaultError, operator, through_the_bastion
from jinku.vault.rekey import Rekey, Step, new_share_file
from jinku.vault.shares import seal_of


@click.command("rekey")
@environment_option
@click.option("--cancel", is_flag=True, help="End a rekey that is under way, whoever began it; the old shares hold.")
def command(env: Selection, cancel: bool) -> None:
    """Replace the shares of the vault's key: an old share on each call until there are enough, then as many of the new ones.

    A share comes from standard input or is typed unseen, as with `jinku unseal`; nothing of it is written down. The new ones go to the
    OpenPGP keys of the operators who stand in environment.yaml now, and hold once the vault was shown enough of them:
    `gpg --decrypt STATE/vault/new-share.NAME.gpg | jinku rekey`. Ends with 6 while more shares are needed. Where the shares lie
    unencrypted on this machine, one call does it all.
    """
    if not is_up(env.places):
        raise Failure(f"{env.environment.name}: is not up; `jinku up` first", ExitCode.PREREQUISITE)
    fleet = Fleet.of(env.topology, env.places)
    try:
        with env.hold("rekey"), through_the_bastion(fleet) as door:
            if seal_of(door).sealed:
                raise Failure(f"{door.server_name}: is sealed; `jinku unseal` first")
            with operator(fleet, door, "recovery") as client:
                rekey = Rekey(fleet, door, client)
                if cancel:
                    click.echo("ended; the old shares hold" if rekey.cancel() else "no rekey is under way")
                    return
                step = _by_itself(rekey, rekey.begin())
                if not step.ended:
                    step = _by_itself(rekey, rekey.give(_asked(step)))
    except (VaultError, PkiError) as error:
        raise Failure(str(error)) from None
    _say(env, step)


def _by_itself(rekey: Rekey, step: Step) -> Step:
    """Give whatever shares lie on this machine unencrypted."""
    while share := rekey.own_share(step):
        step = rekey.give(share)
    return step


def _asked(step: Step) -> str:
    """The share that is wanted next. :raises Failure: none was given; the rekey that has begun waits for it."""
    sort = "new or old" if step.stage == "either" else step.stage
    wanted = f"{sort} share {step.given + 1} of {step.needed}"
    try:
        return asked_share(wanted)
    except Failure as none:
        raise Failure(f"{none}; {wanted} is wanted, or `jinku rekey --cancel`", ExitCode.INCOMPLETE) from None


def _say(env: Selection, step: Step) -> None:
    """:raises Failure: more shares are needed."""
    folder = env.places.vault
    if step.stage == "taken":
        where = ", ".join(f"share.{name}.gpg" for name in step.holders) or "recovery.json"
        click.echo(f"the new shares hold, and the old ones open nothing any more: {where} in {folder}")
    elif step.stage == "new":
        files = ", ".join(str(new_share_file(folder, name)) for name in step.holders)
        raise Failure(
            f"not yet: {step.given} of {step.needed} new shares tried; the old ones hold until then. Each holder tries the own one:"
            f" `gpg --decrypt FILE | jinku rekey` with {files}",
            ExitCode.INCOMPLETE,
        )
    elif step.stage == "either":
        raise Failure(
            "it is not known whether the vault took the new shares or forgot them; what fits tells. Give new ones"
            f" (new-share.NAME.gpg) or old ones (share.NAME.gpg), not of both, from {folder}: {step.given} of {step.needed} given",
            ExitCode.INCOMPLETE,
        )
    else:
        raise Failure(
            f"not yet: {step.given} of {step.needed} old shares given; the next holder's", ExitCode.INCOMPLETE
        )
