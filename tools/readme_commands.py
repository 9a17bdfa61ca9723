#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the commands that README.md shows for one stage, so that CI runs what readers are told to type.

A block is fenced as ``console``; its commands are the lines that begin with ``$ ``, the rest is output. The second word
names a stage: ``console ci:use`` is run by CI, a plain ``console`` block is only checked (tests/test_documents.py).

    bash -euxo pipefail -c "$(tools/readme_commands.py use)"
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

README = Path(__file__).resolve().parent.parent / "README.md"
_BLOCK = re.compile(r"^```console(?: ci:(?P<stage>[a-z]+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


class Shown(NamedTuple):
    """A command as a reader types it. ``stage``: the stage of CI that runs it, None when CI does not."""

    stage: str | None
    command: str


def commands(text: str) -> list[Shown]:
    """Return all commands of a Markdown text, in order; lines that end in a backslash are joined with the next."""
    found = []
    for block in _BLOCK.finditer(text):
        body = block["body"].replace("\\\n", "")
        found += [Shown(block["stage"], line[2:].strip()) for line in body.splitlines() if line.startswith("$ ")]
    return found


def main() -> None:
    """Print the commands of the stage that the first argument names, one a line. Ends with 2 when there are none."""
    every = commands(README.read_text(encoding="utf-8"))
    wanted = [shown.command for shown in every if shown.stage and sys.argv[1:] == [shown.stage]]
    if not wanted:
        stages = ", ".join(dict.fromkeys(shown.stage for shown in every if shown.stage))
        sys.stderr.write(f"{README.name}: stage: {' '.join(sys.argv[1:]) or 'none'} has no commands; one of {stages}\n")
        sys.exit(2)
    print("\n".join(wanted))


if __name__ == "__main__":
    main()
