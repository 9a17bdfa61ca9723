# SPDX-License-Identifier: Apache-2.0
"""Runs on a log host: do the received files hold what the witness was told? Before this text stands SEALED = {path: [size, sha256]}.

Prints a line for each that does not, then how many do. Arguments: folder of the received files, days that they are kept.
"""

import datetime as dt
import gzip
import hashlib
import re
import sys
from pathlib import Path

folder, days = Path(sys.argv[1]), int(sys.argv[2])
oldest = (dt.datetime.now(dt.UTC) - dt.timedelta(days=days)).strftime("%Y-%m-%d")
good = 0
for name, (size, digest) in sorted(SEALED.items()):  # noqa: F821  put before this text
    file = folder / name
    packed = file.with_name(file.name + ".gz")
    if not file.exists() and not packed.exists():
        day = re.search(r"\d{4}-\d{2}-\d{2}", name)  # of a file of lines, or of the folder of a day's recordings
        if not day or day[0] >= oldest:
            print(f"{name}: is gone")
        continue
    with file.open("rb") if file.exists() else gzip.open(packed, "rb") as stream:
        content = stream.read(size)
    if len(content) < size:
        print(f"{name}: holds {len(content)} bytes of the {size} that were sealed")
    elif hashlib.sha256(content).hexdigest() != digest:
        print(f"{name}: its first {size} bytes are not those that were sealed")
    else:
        good += 1
print(f"{good} files hold what was sealed")
