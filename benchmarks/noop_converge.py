# SPDX-License-Identifier: Apache-2.0
"""How long `ansible-playbook site.yml` takes when nothing is to be changed, against one ping of all hosts in the same run.

Works on the running environment (JINKU_ENV, else lab). Ping: Ansible starts, and runs its smallest module once on every
host; what the hosts' CPUs take for one module is the unit of a converge. Prints one JSON object; ends with 1 if the ratio
is above its limit, or if something was changed, for then it was no no-op.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from jinku import converge
from jinku.cli.selection import DEFAULT, Selection
from jinku.places import CHECKOUT

ROUNDS = 3
#: The aim, 60 s for the lab, in pings of the lab on a quiet machine (3 s).
LIMIT = 20.0


def ping(environment: Path) -> float:
    """Seconds of one module run on every host. :raises subprocess.CalledProcessError: a host does not answer."""
    command = [str(Path(sys.executable).with_name("ansible")), "all", "-m", "ansible.builtin.ping", "--become"]
    variables = {**os.environ, "JINKU_ENV": str(environment), "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")}
    begun = time.monotonic()
    subprocess.run(command, check=True, cwd=CHECKOUT, env=variables, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


def main() -> int:
    """Measure in turns, so that a busy moment hits both; compare medians."""
    env = Selection.of(os.environ.get("JINKU_ENV") or DEFAULT)
    ping(env.folder)  # opens the shared connections
    floor, ours, tasks = [], [], 0
    for _ in range(ROUNDS):
        floor.append(ping(env.folder))
        result = converge.run(env.folder, [], lambda *_words: None)
        if result.code or any(result.changed.values()):
            what = sorted({f"{change.host}: {change.role}: {change.task}" for change in result.changes})
            print(f"{env.file}: (hosts): not a no-op: {', '.join(what) or result.other[-1:]}; again", file=sys.stderr)
            return 1
        ours.append(result.seconds)
        tasks = len(result.tasks)
    ratio = statistics.median(ours) / statistics.median(floor)
    told = {"schema": "jinku/benchmark/1", "name": "noop_converge", "hosts": len(env.topology.nodes), "tasks": tasks}
    told |= {"limit": LIMIT, "ping_seconds": [round(value, 1) for value in floor]}
    print(json.dumps({**told, "seconds": [round(value, 1) for value in ours], "ratio": round(ratio, 2)}))
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
