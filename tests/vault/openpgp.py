# SPDX-License-Identifier: Apache-2.0
"""Throw-away OpenPGP keys of operators, in a folder of their own."""

import os
import subprocess
from pathlib import Path

PEOPLE = ("li.wei", "zhang.min", "wang.fang")


def gpg(home: Path, *arguments: str, given: bytes = b"") -> bytes:
    environment = {**os.environ, "GNUPGHOME": str(home)}
    return subprocess.run(
        ["gpg", "--batch", "--quiet", *arguments], input=given, env=environment, check=True, capture_output=True
    ).stdout
