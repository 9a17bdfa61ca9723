# SPDX-License-Identifier: Apache-2.0
"""What several drills need of a running lab: the command line as a person uses it, the hosts' files, a party in the CRM."""

import os
import subprocess
import sys
from pathlib import Path

import any_lab

from jinku.model import Topology, load_environment
from jinku.places import Places

JINKU = Path(sys.executable).with_name("jinku")
ENVIRONMENT = load_environment(os.environ.get("JINKU_ENV") or "lab")
TOPOLOGY = Topology.of(ENVIRONMENT)
PLACES = Places(ENVIRONMENT.name)
#: What Jinku or the system itself writes anew while it works: leaves that are renewed, AIDE's marks.
MOVING = ("/etc/jinku/tls/", "/etc/jinku/identity/", "/etc/aide/", "/etc/jinku/crm/pgpass", "/etc/ld.so.cache")
_FILES = "sudo find /etc /usr/local /usr/lib/jinku -xdev -type f -printf '%p %i %T@ %m %u\\n' 2>/dev/null; true"


def jinku(*words: str, env: str | Path = "") -> subprocess.CompletedProcess[str]:
    """Run a verb on the environment (or on ``env``, a changed copy that is meant to be the same); both outputs in ``stdout``."""
    variables = {**os.environ, **({"JINKU_ENV": str(env)} if env else {})}
    if env:
        PLACES.origin.unlink(missing_ok=True)
    try:
        return subprocess.run(
            [JINKU, *words], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=variables, check=False
        )
    finally:
        if env:  # the state is not the copy's afterwards, however the drill ends
            PLACES.origin.unlink(missing_ok=True)


def on(node: str, command: str, given: str = "") -> str:
    """Output of a shell command on a node. :raises AssertionError: it failed."""
    return any_lab.on(PLACES, node, command, given)


def files(node: str) -> dict[str, str]:
    """Every file of settings and programs of a node, with what changes when somebody writes it."""
    lines = (line.partition(" ") for line in on(node, _FILES).splitlines())
    return {path: rest for path, _, rest in lines if not path.startswith(MOVING)}


def party(name: str, *, make: bool = False) -> int:
    """How many parties of that name the CRM has; ``make``: after one more was made."""
    return any_lab.party(PLACES, TOPOLOGY.nodes_of("crm")[0].name, name, make=make)


def edge_answers(address: str = "") -> bool:
    """Whether the CRM's page comes through the edge (at that address)."""
    return any_lab.edge_answers(TOPOLOGY, PLACES, address)


def switch(action: str, *nodes: str) -> None:
    """Power nodes off or on, all at the same time; ``action``: stop_node or start_node."""
    any_lab.switch(ENVIRONMENT.name, action, nodes)
