# SPDX-License-Identifier: Apache-2.0
"""`jinku restore`: opens a copy of database, attachments and vault beside the repository, as it was at a moment."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from jinku import backups, clock
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.selection import Selection, environment_option
from jinku.cli.tables import print_table
from jinku.ssh_access import is_up


def _moment(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    """Refuse a moment without a zone before any host is asked."""
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        raise Failure(f"--to: {text!r} is not a time with a zone; such as {now}", ExitCode.USAGE)
    return when.isoformat()


def _escrow(file: Path | None) -> str | None:
    """Return the escrow's text, looked at before any host is asked."""
    if file is None:
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        words = f"{file}: key: cannot be read ({error.strerror}); the operators' escrow, <state>/backup/key.json"
        raise Failure(words, ExitCode.USAGE) from error
    except ValueError:
        found = None
    if not (isinstance(found, dict) and found.get("database") and found.get("files")):
        raise Failure(f"{file}: key: is not an escrow of the backups' key; <state>/backup/key.json", ExitCode.USAGE)
    return json.dumps(found)


@click.command("restore")
@environment_option
@click.option(
    "--to", callback=_moment, metavar="TIME", help="A moment, such as 2026-11-28T02:00:00+08:00; else the newest."
)
@click.option(
    "--key", type=click.Path(path_type=Path), metavar="FILE", help="The key's escrow, when the vault is lost."
)
@click.option("--list", "listing", is_flag=True, help="Print what can be restored; restore nothing.")
@click.option("--discard", is_flag=True, help="Remove the restored copy.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print a document of the schema jinku/restore/1 (--list: jinku/backups/1)."
)
def command(env: Selection, to: str | None, key: Path | None, listing: bool, discard: bool, as_json: bool) -> None:
    """Open a copy on the backup host, as it was at a moment; nothing that runs is touched.

    Database, attachments and vault are taken out of the encrypted repositories into a scratch folder there, and the
    database is opened on a socket that only that host's root reaches. An earlier copy is replaced.
    """
    if not is_up(env.places):
        raise Failure(f"{env.environment.name}: is not up; `jinku up` makes it", ExitCode.PREREQUISITE)
    escrow = _escrow(key)
    try:
        if listing:
            found = json.loads(backups.ask(env.topology, env.places, "list"))
            _show_list(found, env.environment.timezone, as_json=as_json)
        elif discard:
            backups.ask(env.topology, env.places, "discard")
        else:
            arguments = [*(["--to", to] if to else []), *(["--key-stdin"] if escrow else [])]
            told = json.loads(backups.ask(env.topology, env.places, "restore", *arguments, given=escrow))
            _show(told, env.environment.timezone, as_json=as_json)
    except backups.BackupHostError as error:
        # What the host says of an option is the caller's: its file by its name.
        words = re.sub(r"^\S+: --key: ", lambda _: f"{key}: key: ", str(error))
        raise Failure(words, ExitCode.USAGE if re.search(r"(^|: )(--to|key): ", words) else ExitCode.FAILED) from error


def _show_list(found: dict[str, Any], zone: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    rows: list[tuple[object, ...]] = []
    for kind in ("database", "attachments", "vault"):
        for one in found[kind]:
            made = clock.told(one.get("finished") or one.get("time"), zone)
            rows.append((kind, one.get("label") or one.get("id"), made))
    print_table(("what", "copy", "made"), rows)
    click.echo(f"database: any moment from {clock.told(found['from'], zone)} to {clock.told(found['to'], zone)}")


def _show(found: dict[str, Any], zone: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    database, attachments, vault = found["database"], found["attachments"], found["vault"]
    last = clock.told(database["last_change"], zone)
    click.echo(f"database: open, last change {last}; psql -h {database['socket']} -U postgres")
    for one in attachments:
        click.echo(f"attachments of {clock.told(one['time'], zone)}: {one['files']} files in {one['folder']}")
    for one in vault:
        click.echo(f"vault of {clock.told(one['time'], zone)}: {one['file']}, raft index {one['index']}")
    click.echo(f"{found['seconds']} s; `jinku restore --discard` removes it")
