# SPDX-License-Identifier: Apache-2.0
"""Paths on the command line to which a verb writes: one that cannot be written is told in a line, as other bad input is."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jinku.cli.exit_codes import ExitCode, Failure

#: Not the fault of the path: the machine lacks room, and has a text of its own for it.
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def writes(path: Path, argument: str) -> Iterator[None]:
    """Turn what the block cannot write into the end of the verb; nothing is to be printed within it.

    :param argument: what the caller gave the path as, such as `--output`.
    :raises Failure: with exit code 2, naming the place that refused.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise
        where = f"{error.filename}: " if error.filename and Path(error.filename) != path else ""
        wrong = f"cannot be written ({where}{error.strerror or error})"
        right = "a path of short names that leads through folders, to where you may write"
        raise Failure(f"{path}: {argument}: {wrong}; {right}", ExitCode.USAGE) from None
