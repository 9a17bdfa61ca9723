# SPDX-License-Identifier: Apache-2.0
"""Cold start (DESIGN.md, decision 10): every host off, then on, and nobody does anything else. Lab only."""

import time

import pytest
from running import ENVIRONMENT, TOPOLOGY, edge_answers, switch

START_SECONDS = 180  # a bound for a machine of two cores, not a target; benchmarks/ has the target

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(ENVIRONMENT.backend != "lab", reason="only the lab's hosts have a switch that a test may touch"),
]


def test_all_hosts_off_and_on_again_the_crm_answers() -> None:
    names = [node.name for node in TOPOLOGY.nodes]
    assert edge_answers(), "the CRM must answer before the drill"
    switch("stop_node", *names)
    assert not edge_answers()
    switch("start_node", *names)
    deadline = time.monotonic() + START_SECONDS
    while not edge_answers():
        assert time.monotonic() < deadline, f"the CRM does not answer {START_SECONDS} s after the last host is up"
        time.sleep(1)
