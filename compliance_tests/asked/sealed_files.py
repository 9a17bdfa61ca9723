# SPDX-License-Identifier: Apache-2.0
"""Runs on a log host: do the received files hold what the witness was told? Before this text stands SEALED = {path: [size, sha256, steps, all]}.

``steps``: by how much each size that was ever sealed is larger than the one before. ``all``: SHA-256 of a line "<size> <sha256>" for each
of them. The last one alone would not do: who changes lines that are sealed, and lets the file grow, has it sealed anew as it is. Prints a line for each that does not, then how many do. Arguments: folder of the received files, days that they are kept.
"""

import datetime as dt
import gzip
import hashlib
import re
import sys
from pathlib import Path


def found(stream, steps):
    """Read a file once; return (size, digest, digest of all digests) as far as it goes."""
    size, digest, every = 0, hashlib.sha256(), hashlib.sha256()
    for step in steps.split():
        rest = int(step)
        while rest and (block := stream.read(min(rest, 1 << 20))):
            digest.update(block)
            rest -= len(block)
            size += len(block)
        if rest:
            break
        every.update(f"{size} {digest.copy().hexdigest()}\n".encode())
    return size, digest.hexdigest(), every.hexdigest()


folder, days = Path(sys.argv[1]), int(sys.argv[2])
oldest = (dt.datetime.now(dt.UTC) - dt.timedelta(days=days)).strftime("%Y-%m-%d")
good = 0
for name, (size, digest, steps, every) in sorted(SEALED.items()):  # noqa: F821  put before this text
    file = folder / name
    packed = file.with_name(file.name + ".gz")
    if not file.exists() and not packed.exists():
        day = re.search(r"\d{4}-\d{2}-\d{2}", name)  # of a file of lines, or of the folder of a day's recordings
        if not day or day[0] >= oldest:
            print(f"{name}: is gone")
        continue
    with file.open("rb") if file.exists() else gzip.open(packed, "rb") as stream:
        holds, newest, all_of_them = found(stream, steps)
    if holds < size:
        print(f"{name}: holds {holds} bytes of the {size} that were sealed")
    elif newest != digest:
        print(f"{name}: its first {size} bytes are not those that were sealed")
    elif all_of_them != every:
        print(f"{name}: what was sealed of it before its newest seal was rewritten, and that seal made afterwards")
    else:
        good += 1
print(f"{good} files hold what was sealed")
