# SPDX-License-Identifier: Apache-2.0
"""Verbs whose output is all they do."""

import os
import sys

import click

from jinku.cli.exit_codes import ExitCode


def silence() -> None:
    """Let what is still to be printed go nowhere, else the interpreter meets the broken pipe once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


class Listing(click.Command):
    """A verb, or a part of one, that only prints: whoever reads no further, as `head` does, has what they wanted."""

    def invoke(self, ctx: click.Context) -> object:
        """As the parent; a reader that has gone is no error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            silence()
            return ExitCode.OK
