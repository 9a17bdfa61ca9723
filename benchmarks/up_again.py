# SPDX-License-Identifier: Apache-2.0
"""How long `jinku up` takes on an environment that is up, against the stock tools that it drives, in the same run.

Works on the running environment (JINKU_ENV, else lab). Stock: `ansible-playbook site.yml`, then pytest's control tests; ours
adds Pulumi's refresh of every resource, the keys and the reports. Prints one JSON object; ends with 1 if the ratio is above
its limit, or if one of the two failed. What the check finds is not judged here.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jinku import converge
from jinku.cli.exit_codes import ExitCode
from jinku.cli.selection import DEFAULT, Selection
from jinku.evidence.run import run_check

ROUNDS = 2
LIMIT = 1.4
JINKU = Path(sys.executable).with_name("jinku")
UP = {ExitCode.OK, ExitCode.NOT_CONFORM, ExitCode.INCOMPLETE}


def stock(env: Selection, document: Path) -> float:
    """Seconds of the stock tools, one after the other. :raises RuntimeError: a host was not configured."""
    begun = time.monotonic()
    result = converge.run(env.folder, [], lambda *_words: None)
    if result.code:
        raise RuntimeError(f"ansible-playbook ended with {result.code}: {result.troubles or result.other[-5:]}")
    run_check(env.places, env.folder, document)
    return time.monotonic() - begun


def up(env: Selection) -> float:
    """Seconds of `jinku up`. :raises RuntimeError: it did not come up."""
    begun = time.monotonic()
    code = subprocess.run([JINKU, "up", "--env", env.folder], check=False, stdout=subprocess.DEVNULL).returncode
    if code not in UP:
        raise RuntimeError(f"jinku up ended with {code}")
    return time.monotonic() - begun


def main() -> int:
    """Measure in turns, so that a busy moment hits both; compare medians."""
    env = Selection.of(os.environ.get("JINKU_ENV") or DEFAULT)
    floor, ours = [], []
    with tempfile.TemporaryDirectory(prefix="jinku-bench-") as folder:
        for _ in range(ROUNDS):
            floor.append(stock(env, Path(folder) / "check.json"))
            ours.append(up(env))
    ratio = statistics.median(ours) / statistics.median(floor)
    told = {"schema": "jinku/benchmark/1", "name": "up_again", "hosts": len(env.topology.nodes), "limit": LIMIT}
    told |= {"stock_seconds": [round(value, 1) for value in floor], "seconds": [round(value, 1) for value in ours]}
    print(json.dumps({**told, "ratio": round(ratio, 2)}))
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
