# SPDX-License-Identifier: Apache-2.0
"""Where a sender begins when it starts: its place in the journal, and what an earlier version left."""

import os
import time

import pytest
from as_it_was import BEFORE, FILES, SEALS
from log_world import AGAIN, COUNT, STATE, VOLUMES, World

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts file systems")]


@BEFORE
@pytest.mark.parametrize("world", ["log", "witness"], indirect=True)
def test_what_the_queue_of_an_earlier_version_held_is_sent_after_the_upgrade(world: World, before: bool) -> None:
    """It was stopped in good order while its receiver was away; its files are gone afterwards."""
    world.settle(*FILES, *[SEALS] * (world.receiver == "witness"))
    world.start("receiver")
    world.start("sender", again=False)
    world.log("first", 5)
    assert world.arrive("first", 5) == 5
    world.signal("receiver", "KILL")
    time.sleep(2)  # the queue's files are of a later second than its lines
    world.log("queued", COUNT)
    time.sleep(3)
    world.signal("sender", "TERM")
    assert world.do("ls /var/spool/rsyslog | grep -E '^(forward|seal)[.]'")
    if world.receiver == "witness":
        world.signal("beside", "TERM")
    world.settle()
    world.start("receiver")
    world.start("sender", again=not before)
    world.log("last", 5)
    assert world.arrive("last", 5) == 5
    assert (world.arrive("queued", COUNT, 1) == COUNT) is not before
    assert bool(world.do("ls /var/spool/rsyslog | grep -E '^(forward|seal)[.]'; true")) is before


def test_a_start_without_progress_goes_to_the_same_line_again(world: World) -> None:
    """Then one with progress, which goes back from there."""
    world.settle()
    world.start("receiver", "sender")
    world.log("first", COUNT)
    assert world.arrive("first", COUNT) == COUNT
    world.signal("receiver", "KILL")
    world.signal("sender", "KILL")
    world.do(f"{AGAIN} {STATE}")
    place = world.place()
    for _ in range(2):
        world.start("sender")
        time.sleep(1)
        world.signal("sender", "KILL")
        world.do(f"{AGAIN} {STATE}")
        assert world.place() == place
    world.log("more", COUNT)
    world.start("receiver", "sender")
    assert world.arrive("more", COUNT) == COUNT
    world.signal("sender", "KILL")
    world.do(f"{AGAIN} {STATE}")
    lines = f"journalctl -q -o cat --after-cursor='{world.place()}' | wc -l"
    assert 128 < int(world.do(lines)) < COUNT


@pytest.mark.parametrize("damaged", ["s=garbage", ""])
def test_a_damaged_place_in_the_journal_loses_no_line_and_is_told(world: World, damaged: str) -> None:
    """It begins where the last start went, and without that with the first line."""
    world.begin()
    world.signal("sender", "KILL")
    world.do(f"{AGAIN} {STATE}")
    place = world.place()
    world.do(f"printf '%s' '{damaged}' > {STATE}")
    assert world.waits() or not damaged
    world.do(f"{AGAIN} {STATE}")
    assert world.place() == place
    world.do(f"printf '%s' '{damaged}' > {STATE}; rm {STATE}.went; rm -r {VOLUMES['log']}/n1")
    world.log("down", 5)
    world.start("sender")
    assert world.arrive("down", 5) == 5
    assert world.arrived("first") == 5
