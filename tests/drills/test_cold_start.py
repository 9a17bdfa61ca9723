# SPDX-License-Identifier: Apache-2.0
"""Cold start (DESIGN.md, decision 10): every host off, then on, and nobody does anything else. Lab only."""

import asyncio
import os
import ssl
import time
import urllib.error
import urllib.request

import pytest

from jinku.model import Topology, load_environment
from jinku.places import Places
from stacks.provider.lab import hosts

ENVIRONMENT = load_environment(os.environ.get("JINKU_ENV", "lab"))
TOPOLOGY = Topology.of(ENVIRONMENT)
PLACES = Places(ENVIRONMENT.name)
START_SECONDS = 180  # a bound for a machine of two cores, not a target; benchmarks/ has the target

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(ENVIRONMENT.backend != "lab", reason="only the lab's hosts have a switch that a test may touch"),
]


def crm_answers() -> bool:
    """The web client's page comes through the edge, its certificate verified; only the server's name is not in a DNS."""
    edge = TOPOLOGY.nodes_of("edge")[0]
    context = ssl.create_default_context(cafile=str(PLACES.pki / "root.pem"))
    request = urllib.request.Request(f"https://{edge.address}/", headers={"Host": edge.aliases[0]})
    try:
        with urllib.request.urlopen(request, context=context, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def test_all_hosts_off_and_on_again_the_crm_answers() -> None:
    assert crm_answers(), "the CRM must answer before the drill"

    async def every(action: str) -> None:
        await asyncio.gather(*(getattr(hosts, action)(ENVIRONMENT.name, node.name) for node in TOPOLOGY.nodes))

    asyncio.run(every("stop_node"))
    assert not crm_answers()
    asyncio.run(every("start_node"))
    deadline = time.monotonic() + START_SECONDS
    while not crm_answers():
        assert time.monotonic() < deadline, f"the CRM does not answer {START_SECONDS} s after the last host is up"
        time.sleep(1)
