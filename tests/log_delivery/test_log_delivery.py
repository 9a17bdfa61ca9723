# SPDX-License-Identifier: Apache-2.0
"""No line of the audit log is lost on its way, whoever is killed, away or full. Each loss has its counterpart (as_it_was.py)."""

import os
import time

import pytest
from as_it_was import BEFORE, OMFILE, QUEUE
from log_world import COUNT, VOLUMES, World

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts file systems")]


@BEFORE
def test_nothing_is_lost_when_a_sender_is_killed_while_the_log_tier_is_away(world: World, before: bool) -> None:
    """Lines from before it was killed, and while nothing ran."""
    world.begin(*[QUEUE] * before)
    world.signal("receiver", "KILL")
    world.log("away", COUNT)
    time.sleep(2)  # for whoever would take lines that it cannot send
    world.signal("sender", "KILL")
    world.log("down", 20)
    world.start("receiver", "sender")
    assert world.arrive("down", 20) == 20
    assert (world.arrive("away", COUNT, 1) == COUNT) is not before


@BEFORE
def test_what_was_sent_and_never_confirmed_is_sent_again(world: World, before: bool) -> None:
    """The receiver takes nothing off its connection, and then both are gone. A window of lines is out at that time."""
    world.begin()
    world.signal("receiver", "STOP")
    world.log("window", 100)
    time.sleep(1)
    world.signal("sender", "KILL")
    world.signal("receiver", "KILL")
    world.log("down", 20)
    world.start("receiver", "sender", again=not before)
    assert world.arrive("down", 20) == 20
    assert (world.arrive("window", 100, 1) == 100) is not before


@BEFORE
@pytest.mark.parametrize("world", ["log", "witness"], indirect=True)
def test_what_a_full_volume_refuses_stays_with_the_sender(world: World, before: bool) -> None:
    """Also when sender and receiver are killed meanwhile; the sender says that lines wait, and all come when there is room."""
    world.begin(*[OMFILE] * before)
    volume = VOLUMES[world.receiver]
    world.do(f"dd if=/dev/zero of={volume}/filler bs=1k 2>/dev/null; test -s {volume}/filler")
    world.log("full", COUNT)
    time.sleep(3)
    assert world.arrived("full") < COUNT
    assert world.waits() is not before
    world.signal("receiver", "KILL")
    world.signal("sender", "KILL")
    world.do(f"rm {volume}/filler")
    world.start("receiver", "sender")
    world.log("room", 5)
    assert world.arrive("room", 5) == 5
    assert (world.arrive("full", COUNT, 1) == COUNT) is not before
    world.until(lambda: not world.waits(), 5)
    if world.receiver == "witness" and not before:
        assert world.do(f"cut -d' ' -f2- {volume}/n1/*.log | grep -v '}}$'"), "no seal was torn, so nothing is shown"
        assert world.judged() == ""


def test_a_sender_goes_on_by_itself_when_the_receiver_is_back(world: World) -> None:
    """Killed and full, while the sender lives; and an orderly stop of a sender that waits is quick."""
    world.begin()
    world.do("dd if=/dev/zero of=/var/log/remote/filler bs=1k 2>/dev/null; true")
    world.log("full", COUNT)
    time.sleep(1)
    world.do("rm /var/log/remote/filler")
    assert world.arrive("full", COUNT) == COUNT
    world.signal("receiver", "KILL")
    world.log("away", COUNT)
    began = time.monotonic()
    world.signal("sender", "TERM")
    assert time.monotonic() - began < 14
    world.start("receiver", "sender")
    assert world.arrive("away", COUNT) == COUNT
