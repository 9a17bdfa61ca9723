# SPDX-License-Identifier: Apache-2.0
"""How long a check takes, against its own commands, run by one plain ssh a host, all hosts side by side, in the same run.

Works on the running environment (JINKU_ENV, else lab) and leaves no report. The commands are those of the last check that
may be asked ahead (<state>/asked-before.json); the first check here makes that file. Prints a JSON object for a check of
settings and one for a whole check; ends with 1 if a ratio is above its limit.
"""

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jinku.cli.selection import DEFAULT, Selection
from jinku.evidence.channel import COMMAND_SECONDS
from jinku.evidence.run import run_check
from jinku.places import Places

ROUNDS = 3
#: Start of pytest, tests and verdicts may cost as much as the commands of settings once more. A whole check is mostly trials,
#: which no plain ssh repeats; its limit only says that it has not become much slower.
LIMITS = {"check_of_settings": 2.0, "check": 8.0}


def scripts(places: Places, *, settings_only: bool) -> dict[str, str]:
    """Shell script by host: each distinct command of the last check, or of its tests of settings, once."""
    asked = json.loads((places.state / "asked-before.json").read_text(encoding="utf-8"))
    lines: dict[str, dict[str, None]] = {}
    for test in asked["asked"].values():
        for where, command, given in test["questions"] if test["setting"] or not settings_only else ():
            given_by = f"printf %s {shlex.quote(given)} |" if given is not None else "</dev/null"
            run = f"{given_by} timeout {COMMAND_SECONDS:.0f} sh -c {shlex.quote(command)} >/dev/null 2>&1"
            lines.setdefault(where, {})[run] = None
    return {where: "\n".join(runs) + "\ntrue\n" for where, runs in lines.items()}


def plain(places: Places, by_host: dict[str, str]) -> float:
    """Seconds until every host has run its script. :raises subprocess.CalledProcessError: a host cannot be reached."""

    def run(host: str) -> None:
        command = ["ssh", "-F", str(places.ssh_config), "-o", "ControlMaster=no", "-T", host, "sudo -n sh -s"]
        subprocess.run(command, input=by_host[host], text=True, check=True, stdout=subprocess.DEVNULL)

    begun = time.monotonic()
    with ThreadPoolExecutor(len(by_host)) as pool:
        list(pool.map(run, by_host))
    return time.monotonic() - begun


def measure(env: Selection, document: Path, *, read_only: bool) -> bool:
    """Measure in turns, so that a busy moment hits both; compare medians. Whether the ratio keeps its limit."""
    # No ssh leads to the controller, nor to the lab's routers.
    nodes = {node.name for node in env.topology.nodes}
    asked = scripts(env.places, settings_only=read_only)
    by_host = {where: text for where, text in asked.items() if where in nodes}
    floor, ours = [], []
    for _ in range(ROUNDS):
        floor.append(plain(env.places, by_host))
        begun = time.monotonic()
        run_check(env.places, env.folder, document, read_only=read_only)
        ours.append(time.monotonic() - begun)
    ratio = statistics.median(ours) / statistics.median(floor)
    name = "check_of_settings" if read_only else "check"
    told = {"schema": "jinku/benchmark/1", "name": name, "hosts": len(by_host), "limit": LIMITS[name]}
    told |= {"commands": sum(text.count(" timeout ") for text in by_host.values())}
    told |= {"ssh_seconds": [round(value, 1) for value in floor], "seconds": [round(value, 1) for value in ours]}
    print(json.dumps({**told, "ratio": round(ratio, 2)}))
    return ratio <= LIMITS[name]


def main() -> int:
    """A check of settings (``--read-only``), then a whole one. 0 if both keep their limit."""
    env = Selection.of(os.environ.get("JINKU_ENV") or DEFAULT)
    with tempfile.TemporaryDirectory(prefix="jinku-bench-") as folder:
        document = Path(folder) / "check.json"
        run_check(env.places, env.folder, document)
        kept = [measure(env, document, read_only=read_only) for read_only in (True, False)]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
