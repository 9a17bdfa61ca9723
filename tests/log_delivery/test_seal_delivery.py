# SPDX-License-Identifier: Apache-2.0
"""Seals come to the witness as the lines do to the log tier, and nothing but seals."""

import os

import pytest
from as_it_was import ANY_TEXT, BEFORE, NO_SEALS
from log_world import SEALING, VOLUMES, World

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts file systems")]


@BEFORE
@pytest.mark.parametrize("world", ["witness"], indirect=True)
def test_seals_that_were_sent_and_never_confirmed_are_sent_again(world: World, before: bool) -> None:
    """However many other lines went by since then."""
    world.begin(*[NO_SEALS] * before)
    world.signal("receiver", "STOP")
    world.log("out", 2)
    world.say("others", 300)
    assert world.arrive("others", 300, volume=VOLUMES["log"]) == 300
    world.signal("sender", "KILL")
    world.signal("receiver", "KILL")
    world.start("receiver", "sender")
    world.log("last", 1)
    assert world.arrive("last", 1) == 1
    assert (world.arrive("out", 2, 1) == 2) is not before
    assert (world.judged() == "") is not before


@BEFORE
@pytest.mark.parametrize("world", ["witness"], indirect=True)
def test_what_the_sealer_says_of_itself_is_no_seal(world: World, before: bool) -> None:
    """That its volume is full, or where it fell, goes to the log tier alone."""
    world.settle(*[ANY_TEXT] * before)
    world.start("receiver", "sender")
    said = "Traceback (most recent call last):\nnothing is sealed: [Errno 28] No space left on device: 'said-0001-'\n"
    world.do(SEALING, f"{world.sealed('first-0001-')}{said}{world.sealed('last-0001-')}")
    assert world.arrive("last", 1) == 1
    assert world.arrive("said", 1, volume=VOLUMES["log"]) == 1
    assert (world.judged() == "") is not before
