# SPDX-License-Identifier: Apache-2.0
"""Print what a laboratory could leave on a machine, one line a thing: compared before and after, nothing may differ.

Interfaces, addresses, routes, namespaces, mounts, loop devices, cgroups, packet filter and processes (by command).
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

#: Processes that come and go by themselves on any machine, and this one with its callers.
_OWN = re.compile(r"^(\[|.*machine_state|bash$|sh$|make$|tee$|sleep$|ps$|git$|ssh-agent$)")


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def _processes() -> Iterator[str]:
    for line in _lines("ps", "-e", "-o", "pid=,ppid=,args="):
        _, _, command = line.split(None, 2)
        if re.search(
            r"nspawn|proxy\.py|jinku|pulumi|systemd|rsyslog|trytond|apache2|openbao|\bbao\b|ssh .*-F ", command
        ) and not _OWN.match(command):
            yield command[:160]


def state() -> Iterator[str]:
    """The machine's state as sorted lines, each with what it is in front."""
    listings = {
        "interface": [re.sub(r"@.*", "", line.split(": ")[1]) for line in _lines("ip", "-o", "link")],
        "address": [" ".join(line.split()[1:4]) for line in _lines("ip", "-o", "address")],
        "route": [*_lines("ip", "route"), *_lines("ip", "-6", "route")],
        "namespace": [line.split()[0] for line in _lines("ip", "netns")],
        "mount": [" ".join(line.split()[4:5]) for line in Path("/proc/self/mountinfo").read_text().splitlines()],
        "loop": _lines("losetup", "--noheadings", "--output", "BACK-FILE"),
        "cgroup": [str(path) for path in Path("/sys/fs/cgroup").rglob("*") if path.is_dir()],
        "nft": _lines("nft", "--stateless", "list", "ruleset"),
        "process": _processes(),
    }
    for kind, found in listings.items():
        yield from sorted(f"{kind}: {line.strip()}" for line in found)


if __name__ == "__main__":
    print("\n".join(state()))
