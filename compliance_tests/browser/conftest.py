# SPDX-License-Identifier: Apache-2.0
"""What every test in a browser needs: the door, and the administrator whose password the first of them chooses."""

from __future__ import annotations

import pytest
from crm_client import Door
from crm_page import Administrator
from testinfra.host import Host

from jinku.evidence.fleet import Fleet
from jinku.model import Topology
from jinku.places import Places


@pytest.fixture
def door(topology: Topology, places: Places) -> Door:
    """The first edge, by the name that people type."""
    return Door.of(topology, places)


@pytest.fixture
def edge(fleet: Fleet, topology: Topology) -> Host:
    """The machine whose rules are asked afterwards: the edge that the door leads to."""
    return fleet.host(topology.nodes_of("edge")[0].name)


@pytest.fixture
def administrator(topology: Topology, places: Places) -> Administrator:
    """The CRM's first administrator, whose password this test chooses and keeps: never where real data is."""
    if not topology.env.disposable:
        pytest.skip(
            "the test would choose the administrator's password; only where environment.yaml says `disposable: true`"
        )
    return Administrator(places)
