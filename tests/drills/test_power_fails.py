# SPDX-License-Identifier: Apache-2.0
"""The power fails: the hosts of a site stop in order, those of the other stay, and what was written before is there afterwards. Lab only.

The battery is a file that the simulated UPS reads (roles/room). Every host decides for itself, as in production.
"""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from running import ENVIRONMENT, PLACES, TOPOLOGY, edge_answers, on, party, switch

from jinku import status
from jinku.model.power import longest_stop, stop_after, stop_stage
from stacks.provider.lab import cgroups, names

pytestmark = [
    pytest.mark.power,
    pytest.mark.skipif(ENVIRONMENT.backend != "lab", reason="only the lab's batteries are files"),
]
ROOM = next(iter(TOPOLOGY.nodes_of("room"))).name
TRY = Path(__file__).parents[2] / "compliance_tests/asked/ups_try.py"
STEP_SECONDS = ENVIRONMENT.room.stop_step_seconds
TURN = {node.name: stop_stage(node.tiers) for node in TOPOLOGY.nodes}
OFF_SECONDS, BACK_SECONDS = 60, 180  # bounds for two cores, not targets


def of(site: str) -> set[str]:
    """Names of a site's nodes."""
    return {node.name for node in TOPOLOGY.nodes if node.site == site}


def running() -> set[str]:
    """Names of the nodes whose guest has a process."""
    return {
        node.name
        for node in TOPOLOGY.nodes
        if cgroups.populated(names.host(ENVIRONMENT.name, node.site, node.name), "guest")
    }


def boots(site: str) -> dict[str, str]:
    """When each node of a site began its boot."""
    return {name: on(name, "stat -c %Y /proc/1") for name in sorted(of(site))}


def battery(site: str, says: str) -> None:
    """Have the UPS of a site say this."""
    unit = TOPOLOGY.ups[site].unit
    on(ROOM, f"sudo sed -i 's/^ups.status:.*/ups.status: {says}/' /run/jinku-ups/{unit}.dev")


def went(site: str, begun: float, bound: float) -> dict[str, float]:
    """Seconds after ``begun`` at which each node of the site was off. :raises AssertionError: one is on after ``bound`` seconds."""
    gone: dict[str, float] = {}
    while missing := (of(site) & TURN.keys()) - gone.keys():
        now, alive = time.monotonic() - begun, running()
        gone |= {name: round(now, 1) for name in missing - alive}
        assert now < bound, f"{sorted(missing & alive)} still on {bound:.0f} s after the alarm; off: {gone}"
        time.sleep(0.2)
    print(f"\nsite {site}, seconds until off:", dict(sorted(gone.items(), key=lambda one: one[1])))
    return gone


def in_order(gone: dict[str, float]) -> None:
    """Every node of a stage is off before any of the next is."""
    for sooner, later in pairwise(sorted({TURN[name] for name in gone})):
        last = max(at for name, at in gone.items() if TURN[name] == sooner)
        first = min(at for name, at in gone.items() if TURN[name] == later)
        assert last < first, f"stage {sooner} ended at {last} s, stage {later} began to be off at {first} s: {gone}"


def bound_of(site: str) -> float:
    """Seconds within which a whole site must be off, the machine beside the UPS included."""
    return longest_stop(ENVIRONMENT, (node.tiers for node in TOPOLOGY.nodes if node.site == site)) + OFF_SECONDS


def healthy() -> set[str]:
    """Names of the nodes that are, by what `jinku status` finds."""
    return {node.name for node in status.look(TOPOLOGY, PLACES) if node.healthy}


def until_well(wanted: set[str]) -> None:
    """Return when the CRM answers and these nodes are healthy."""
    deadline = time.monotonic() + BACK_SECONDS
    while not (edge_answers() and wanted <= healthy()):
        assert time.monotonic() < deadline, f"not healthy: {sorted(wanted - healthy())}"
        time.sleep(2)


@pytest.fixture(autouse=True)
def well() -> Iterator[set[str]]:
    """Before and after each test every host runs, on mains, and is as well as it was, whatever became of the test."""
    assert running() == set(TURN), "every host must run before the drill"
    before = healthy()
    yield before
    switch("start_node", *sorted(set(TURN) - running()))
    on(ROOM, "sudo systemctl start nut-server.service")
    for site in TOPOLOGY.ups:
        battery(site, "OL")
    until_well(before)


def test_power_that_comes_back_stops_nobody() -> None:
    before = {**boots("a"), **boots("b")}
    battery("a", "OB")
    time.sleep(12)
    battery("a", "OL")
    said = on("db1", "sudo journalctl --since=-40s -u nut-monitor -o cat")
    assert "on battery" in said, said
    time.sleep(STEP_SECONDS + 5)
    assert running() == set(TURN)
    assert {**boots("a"), **boots("b")} == before


def test_nobody_but_the_primary_says_that_all_must_stop() -> None:
    ups = TOPOLOGY.ups["a"]
    said = on("db1", f"sudo python3 - {ups.address} {ups.port} {ups.unit} fsd", TRY.read_text())
    answers = dict(line.split(": ", 1) for line in said.splitlines())
    assert answers.pop("own login") == "OK"
    assert answers == {
        "stranger": "ERR USERNAME-REQUIRED",
        "wrong password": "ERR ACCESS-DENIED",
        "primary's name": "ERR ACCESS-DENIED",
        "own account": "ERR ACCESS-DENIED",
    }
    assert "FSD" not in on(ROOM, f"upsc {ups.unit}@{ROOM} ups.status 2>/dev/null")
    time.sleep(5)
    assert running() == set(TURN)


def test_a_low_battery_stops_its_site_in_order_and_nothing_is_lost(well: set[str]) -> None:
    elsewhere, name = boots("b"), f"written before the power failed {time.time():.0f}"
    assert party(name, make=True) == 1
    begun = time.monotonic()
    battery("a", "OB LB")
    gone = went("a", begun, bound_of("a"))
    in_order(gone)
    assert max(gone, key=gone.__getitem__) == ROOM, "the machine beside the UPS waits for all others"
    assert all(gone[node.name] >= stop_after(ENVIRONMENT, node.tiers) for node in TOPOLOGY.nodes if node.name in gone)
    assert running() == of("b")
    assert not healthy() & of("a")
    assert (
        on("db2", "stat -c %Y /proc/1") == elsewhere["db2"]
    )  # by the other site's bastion: the way in of site a is off

    begun = time.monotonic()
    switch("start_node", *sorted(of("a")))
    until_well(well)
    print(f"site a is well {time.monotonic() - begun:.0f} s after it was switched on")
    assert boots("b") == elsewhere, "a host of site b was off"
    assert party(name) == 1
    log = on("db1", "sudo journalctl -b -o cat -t postgres -t postgresql -u 'postgresql@17-main' | tail -200")
    assert "not properly shut down" not in log, log
    for node in (node for node in TOPOLOGY.nodes if node.site == "a" and node.volumes):
        shut = on(node.name, "sudo journalctl -b -1 -o cat -u jinku-volumes.service | tail -5")
        assert "Stopped jinku-volumes.service" in shut, f"{node.name}: {shut}"
        assert "in use" not in shut, f"{node.name}: {shut}"


def test_a_silent_ups_stops_whom_it_last_told_of_the_battery_and_nobody_else() -> None:
    """NUT's own rule, which we keep: on mains silence is an alarm; on battery it is taken for the end of the battery."""
    before = boots("a")
    battery("b", "OB")
    time.sleep(12)
    begun = time.monotonic()
    on(ROOM, "sudo systemctl stop nut-server.service")
    in_order(went("b", begun, bound_of("b")))
    time.sleep(STEP_SECONDS)
    assert running() == of("a")
    assert boots("a") == before
