# SPDX-License-Identifier: Apache-2.0
"""How long `jinku render` takes, against a Python that only loads the libraries which it cannot do without, in the same run.

Needs no host. Prints one JSON object; ends with 1 if the ratio is above its limit (the aim is 1 s on a quiet machine).
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5
LIMIT = 4.0
JINKU = Path(sys.executable).with_name("jinku")
FLOOR = [sys.executable, "-c", "import click, jinja2, pydantic, rich.console, yaml"]


def seconds_of(command: list[str]) -> float:
    """Seconds of wall time of one run. :raises subprocess.CalledProcessError: it failed, so its time says nothing."""
    begun = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


def main() -> int:
    """Measure in turns, so that a busy moment hits both; compare medians."""
    floor, ours = [], []
    with tempfile.TemporaryDirectory(prefix="jinku-bench-") as folder:
        for _ in range(ROUNDS):
            floor.append(seconds_of(FLOOR))
            ours.append(seconds_of([str(JINKU), "render", "--env", "standard", "--output", folder]))
    ratio = statistics.median(ours) / statistics.median(floor)
    told = {"schema": "jinku/benchmark/1", "name": "render", "limit": LIMIT}
    told |= {"floor_seconds": [round(value, 2) for value in floor], "seconds": [round(value, 2) for value in ours]}
    print(json.dumps({**told, "ratio": round(ratio, 2)}))
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
