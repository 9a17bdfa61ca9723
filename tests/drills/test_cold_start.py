# SPDX-License-Identifier: Apache-2.0
"""Cold start (DESIGN.md, decision 10): every host off, then on, and nobody does anything else. Lab only."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from running import ENVIRONMENT, TOPOLOGY, edge_answers, on, switch

START_SECONDS = 180  # a bound for a machine of two cores, not a target; benchmarks/ has the target

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(ENVIRONMENT.backend != "lab", reason="only the lab's hosts have a switch that a test may touch"),
]

_RUNNING = "systemctl list-units --plain --no-legend --type=service,timer,socket,path --state=running,waiting,listening"
#: What comes and goes with somebody's session, connection (`name@3-1234-0`) or question, and is not started at boot.
_PASSING = re.compile(
    r"user@|session|@\d+-\d|systemd-(hostnamed|timedated|localed|networkd-persistent)|polkit|apt-|man-db"
)


def running(node: str) -> set[str]:
    """The units of a node that work or wait for something; none while it cannot be asked."""
    try:
        lines = on(node, _RUNNING).splitlines()
    except AssertionError:
        return set()
    return {name for name, *_ in map(str.split, lines) if not _PASSING.search(name)}


def units() -> set[tuple[str, str]]:
    """Node and unit, of all nodes at once."""
    names = [node.name for node in TOPOLOGY.nodes]
    with ThreadPoolExecutor(len(names)) as pool:
        return {(node, unit) for node, found in zip(names, pool.map(running, names), strict=True) for unit in found}


def test_all_hosts_off_and_on_again_the_crm_answers_and_every_unit_is_back() -> None:
    """A unit whose volume opened late was left behind once: the seals of the logs had ended, and nobody was told."""
    names = [node.name for node in TOPOLOGY.nodes]
    assert edge_answers(), "the CRM must answer before the drill"
    before = units()
    assert {node for node, _ in before} == set(names)
    switch("stop_node", *names)
    assert not edge_answers()
    switch("start_node", *names)
    deadline = time.monotonic() + START_SECONDS
    while not edge_answers():
        assert time.monotonic() < deadline, f"the CRM does not answer {START_SECONDS} s after the last host is up"
        time.sleep(1)
    while lacking := before - units():
        assert time.monotonic() < deadline, (
            f"not running {START_SECONDS} s after the last host is up: {sorted(lacking)}"
        )
        time.sleep(2)
    for node in TOPOLOGY.nodes_of("witness"):
        # A seal that is lost while the witness's volume is shut breaks the chain for ever.
        on(node.name, "sudo jinku-witness check /var/lib/jinku-witness 300")
