# SPDX-License-Identifier: Apache-2.0
"""The command line: one module a verb. Verbs print; what they do lives in modules that know nothing of a terminal."""

import errno
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import click

import jinku
from jinku.cli.exit_codes import EPILOG, ExitCode, Failure
from jinku.cli.listing import silence
from jinku.engine import EngineError
from jinku.lock import LockedError
from jinku.model import InputError
from jinku.places import cache_root, state_root

#: In the order of a person's work.
VERBS = (
    "doctor",
    "init",
    "contact",
    "render",
    "plan",
    "up",
    "update",
    "status",
    "promote",
    "rejoin",
    "nodes",
    "flows",
    "ssh",
    "login",
    "unseal",
    "secret",
    "rekey",
    "check",
    "report",
    "restore",
    "destroy",
)
_UNFINISHED = "interrupted; the same command again finishes the work"


class _Verbs(click.Group):
    """Loads a verb's module only when it is asked for: `jinku nodes` does not wait for Pulumi."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"jinku.cli.{cmd_name}").command
        for one in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
            one.epilog = EPILOG
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            silence()
            raise Failure(_UNFINISHED, ExitCode.INTERRUPTED) from None


@click.group(cls=_Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(jinku.__version__)
@click.option("--env", metavar="NAME|PATH", help="Environment, for any verb; see `jinku VERB --help`.")
def cli(env: str | None) -> None:
    """Jinku (金库): a private, hardened CRM on machines you control, proven control by control."""


def _run(arguments: list[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="jinku", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:  # the reader of `jinku --help` has gone
        silence()
        return ExitCode.OK
    except (Failure, InputError, LockedError, EngineError, click.Abort, KeyboardInterrupt, OSError) as error:
        text, code = _explain(error)
        with suppress(BrokenPipeError):  # `2>&1 | head`
            click.echo(text, err=True)
        return code
    return int(code) if isinstance(code, int) else ExitCode.OK


def _explain(error: BaseException) -> tuple[str, ExitCode]:
    """Text and exit code of an error that a person can act upon; any other is raised again, with its traceback."""
    codes = {InputError: ExitCode.USAGE, LockedError: ExitCode.LOCKED, EngineError: ExitCode.PREREQUISITE}
    if isinstance(error, Failure):
        return str(error), error.code
    if type(error) in codes:
        return str(error), codes[type(error)]
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return _UNFINISHED, ExitCode.INTERRUPTED
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
        where = error.filename or "the state or cache folder"
        return f"{where}: disk: {error.strerror}; free space, then the same command again", ExitCode.PREREQUISITE
    if isinstance(error, OSError) and error.filename and (remedy := _other_path(error)):
        return f"{error.filename}: (file): {error.strerror}; {remedy}", ExitCode.PREREQUISITE
    if isinstance(error, FileNotFoundError) and error.errno is None:  # ours: a program that is missing, with its remedy
        return str(error), ExitCode.PREREQUISITE
    raise error


def _other_path(error: OSError) -> str:
    """What to give instead of a path that a person chose; '' where the error is none of theirs."""
    path = Path(str(error.filename))
    root = next((root for root in (state_root(), cache_root()) if path.is_relative_to(root)), None)
    folders = "other folders in JINKU_STATE_DIR and JINKU_CACHE_DIR"
    if isinstance(error, PermissionError):
        return f"another user, or {folders if root else 'a place where you may write'}"
    if isinstance(error, NotADirectoryError | FileExistsError):
        return "a path that leads through folders only"
    if root and not os.path.isdir(root):  # noqa: PTH112 - is_dir() raises on a name that is too long
        return folders  # it could not be made, as below /proc; what is missing within one is a fault of ours
    return ""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script. Ends the process with one of :class:`ExitCode`."""
    sys.exit(_run(arguments))
