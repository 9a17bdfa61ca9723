#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the commands of README.md that CI runs, in order, one a line: readers and CI type the same.

A block is fenced as ``console``; its commands are the lines that begin with ``$ ``, the rest is output. Those of a block
fenced as ``console ci`` are printed here; tests/test_documents.py checks those of every block.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

README = Path(__file__).resolve().parent.parent / "README.md"
_BLOCK = re.compile(r"^```console(?P<ci> ci)?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


class Shown(NamedTuple):
    """A command as a reader types it. ``ci``: whether CI runs it from here."""

    ci: bool
    command: str


def commands(text: str) -> list[Shown]:
    """Return all commands of a Markdown text, in order; lines that end in a backslash are joined with the next."""
    found = []
    for block in _BLOCK.finditer(text):
        body = block["body"].replace("\\\n", "")
        found += [Shown(bool(block["ci"]), line[2:].strip()) for line in body.splitlines() if line.startswith("$ ")]
    return found


def main() -> None:
    """Print them; ends with 1 when there are none, for then CI would try nothing."""
    wanted = [shown.command for shown in commands(README.read_text(encoding="utf-8")) if shown.ci]
    print("\n".join(wanted))
    sys.exit(not wanted)


if __name__ == "__main__":
    main()
