# SPDX-License-Identifier: Apache-2.0
"""`jinku ssh`: a shell or a command on a node, by the way in that production uses."""

import os
import shlex
import sys

import click

from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.selection import Selection, environment_option


@click.command("ssh", context_settings={"ignore_unknown_options": True})
@environment_option
@click.argument("node")
@click.argument("remote", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
def command(env: Selection, node: str, remote: tuple[str, ...]) -> None:
    """Open a shell on NODE, or run COMMAND there.

    Output and exit code are the command's own; 255 when the node cannot be reached. One word is given to the remote
    shell as it is (`-- 'ls | wc -l'`); several words reach the command unchanged, spaces and all.
    """
    known = [each.name for each in env.topology.nodes]
    if node not in known:
        raise Failure(
            f"{env.environment.name}: NODE: there is no node {node!r}; one of {', '.join(known)}", ExitCode.USAGE
        )
    config = env.places.ssh_config
    if not config.exists():
        raise Failure(f"{config}: (file): is missing; `jinku up` makes the hosts and this file", ExitCode.PREREQUISITE)
    text = remote[0] if len(remote) == 1 else shlex.join(remote)
    sys.stdout.flush()
    os.execvp(  # noqa: S606 - the words go to ssh as they are
        "ssh",
        ["ssh", "-F", str(config), node, *(["--", text] if text else [])],
    )
