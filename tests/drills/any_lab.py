# SPDX-License-Identifier: Apache-2.0
"""What drills ask of a lab, be it the running one (running.py) or one of their own: commands on hosts, parties in the CRM, its switch."""

import asyncio
import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Any

from jinku.model import Topology
from jinku.places import Places
from stacks.provider.lab import hosts

AS_THE_CRM = "sudo runuser -u tryton -g tryton -G jinku-tls -- env TZ=UTC python3 -"
_PARTIES = """
import os, sys
sys.path.insert(0, "/usr/lib/jinku/crm")
os.environ["TRYTOND_CONFIG"] = "/etc/jinku/crm/trytond.conf"
from jinku_crm import pool
def work(objects):
    parties = objects.get("party.party")
    if MAKE:
        parties.create([{"name": NAME}])
    print("found", len(parties.search([("name", "=", NAME)])))
pool.run("crm", work)
"""


def on(places: Places, node: str, command: str, given: str = "") -> str:
    """Output of a shell command on a node. :raises AssertionError: it failed."""
    words = ["ssh", "-F", str(places.ssh_config), node, command]
    done = subprocess.run(words, input=given, text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, f"{node}: {command[:80]}: {done.stderr[-1500:]}"
    return done.stdout


def party(places: Places, crm: str, name: str, *, make: bool = False) -> int:
    """How many parties of that name the CRM on the node ``crm`` has; ``make``: after one more was made."""
    program = f"MAKE, NAME = {make!r}, {name!r}\n{_PARTIES}"
    return int(on(places, crm, AS_THE_CRM, program).split("found ")[1].split()[0])


def edge_answers(topology: Topology, places: Places, address: str = "") -> bool:
    """Whether the CRM's page comes through the edge (at that address); certificate verified, only its name is in no DNS."""
    edge = topology.nodes_of("edge")[0]
    context = ssl.create_default_context(cafile=str(places.pki / "root.pem"))
    request = urllib.request.Request(f"https://{address or edge.address}/", headers={"Host": edge.aliases[0]})
    try:
        with urllib.request.urlopen(request, context=context, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def received(places: Places, since: float) -> Iterator[dict[str, Any]]:
    """What the lab's receiver of alarms got since a moment (Unix time): one entry for each alert and way."""
    record = places.receiver / "received.jsonl"
    for line in record.read_text(encoding="utf-8").splitlines() if record.exists() else ():
        one = json.loads(line)
        if one["at"] < since:
            continue
        for alert in one.get("alerts", [one]):
            yield {**one, **alert}


def switch(environment: str, action: str, nodes: Iterable[str]) -> None:
    """Power nodes off or on, all at the same time; ``action``: stop_node or start_node."""

    async def every() -> None:
        await asyncio.gather(*(getattr(hosts, action)(environment, node) for node in nodes))

    asyncio.run(every())
