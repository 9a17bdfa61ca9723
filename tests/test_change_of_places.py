# SPDX-License-Identifier: Apache-2.0
"""Which steps `jinku promote` takes and which it refuses, and what `status` makes of the pair; the servers are invented."""

import json
import subprocess
from dataclasses import dataclass, field
from typing import Any

import pytest

from jinku import replication, status
from jinku.model import Topology, load_environment
from jinku.places import Places

TOPOLOGY = Topology.of(load_environment("lab"))
A, B = (next(node.name for node in TOPOLOGY.nodes_of("postgres") if node.site == site) for site in "ab")
PRIMARY: dict[str, Any] = {"role": "primary", "running": True, "timeline": 1, "streaming": True, "lsn": "0/5"}
STANDBY: dict[str, Any] = {**PRIMARY, "role": "standby", "lag_seconds": 0.5, "lag_bytes": 0}


@dataclass
class Pair:
    """Two servers, what was asked of them, and steps that do not go as they should: (node, verb) -> exit code."""

    found: dict[str, dict[str, Any]]
    wrong: dict[tuple[str, str], int] = field(default_factory=dict)
    #: Steps that do what they should although their answer is lost.
    lost: set[tuple[str, str]] = field(default_factory=set)
    peer_answers: bool = False
    steps: list[str] = field(default_factory=list)

    def ask(self, _: Places, node: Any, *words: str, timeout: float) -> subprocess.CompletedProcess[str]:
        assert timeout > 0
        name, verb = node.name, words[0]
        if verb not in {"state", "peers"}:
            self.steps.append(f"{name} {' '.join(words)}")
        code = self.wrong.get((name, verb), 255 if name not in self.found else 0)
        if (code == 0 or (name, verb) in self.lost) and name in self.found:
            self.do(name, verb)
        if code:
            return subprocess.CompletedProcess([], code, "", f"{verb} did not work")
        told = {
            "state": self.found[name],
            "peers": [{"name": "other", "answers": self.peer_answers, "primary": self.peer_answers}],
            "demote": {"lsn": "0/9", "cluster": "shut down"},
        }
        return subprocess.CompletedProcess([], 0, json.dumps(told.get(verb, "")), "")

    def do(self, name: str, verb: str) -> None:
        becomes = {
            "demote": {**STANDBY, "running": False},
            "promote": PRIMARY,
            "undo": PRIMARY,
            "follow": STANDBY,
        }
        self.found[name] = becomes.get(verb, self.found[name])


@pytest.fixture
def promoted(monkeypatch, tmp_path):
    """``promoted(pair, lost=False)``: promote site b; what was told."""
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(replication.time, "sleep", lambda _: None)

    def promote(pair: Pair, *, lost: bool = False) -> list[str]:
        monkeypatch.setattr(replication, "ask", pair.ask)
        told: list[str] = []
        replication.promote(TOPOLOGY, Places("lab"), "b", lost=lost, tell=told.append)
        return told

    return promote


def test_in_order_the_old_primary_is_stopped_first_and_follows_afterwards(promoted):
    pair = Pair({A: PRIMARY, B: STANDBY})
    assert promoted(pair)[-1] == f"{A}: follows it as a standby"
    assert pair.steps == [f"{A} demote", f"{B} promote 0/9", f"{A} follow"]


def test_a_promotion_that_fails_gives_the_place_back(promoted):
    pair = Pair({A: PRIMARY, B: STANDBY}, {(B, "promote"): 1})
    with pytest.raises(replication.RefusedError, match="promote did not work"):
        promoted(pair)
    assert pair.steps[-1] == f"{A} undo"


def test_a_promotion_whose_answer_was_lost_counts(promoted):
    pair = Pair({A: PRIMARY, B: STANDBY}, {(B, "promote"): 255}, {(B, "promote")})
    promoted(pair)
    assert pair.steps == [f"{A} demote", f"{B} promote 0/9", f"{A} follow"]


def test_a_server_that_falls_silent_while_it_is_promoted_never_gets_a_second_primary_beside_it(promoted, monkeypatch):
    pair = Pair({A: PRIMARY, B: STANDBY}, {(B, "promote"): 255})
    inner = pair.do

    def silent(name: str, verb: str) -> None:
        inner(name, verb)
        if verb == "demote":
            pair.wrong[B, "state"] = 255

    monkeypatch.setattr(pair, "do", silent)
    with pytest.raises(replication.RefusedError, match="does not say whether it is the primary now"):
        promoted(pair)
    assert f"{A} undo" not in pair.steps


def test_the_same_command_again_ends_what_was_interrupted(promoted):
    before = Pair({A: {**STANDBY, "running": False}, B: STANDBY})
    promoted(before)
    assert before.steps == [f"{A} demote", f"{B} promote 0/9", f"{A} follow"]
    after = Pair({A: {**STANDBY, "running": False}, B: PRIMARY})
    assert promoted(after) == [f"{B}: is the primary already", f"{A}: follows it as a standby"]
    done = Pair({A: STANDBY, B: PRIMARY})
    assert promoted(done) == [f"{B}: is the primary already"]
    assert done.steps == []


def test_of_two_standbys_that_run_the_one_that_lacks_nothing_can_be_promoted(promoted):
    """A promotion was cut off behind its first step, and the old primary has come back as a standby."""
    even = Pair({A: STANDBY, B: STANDBY})
    promoted(even)
    assert even.steps == [f"{B} promote", f"{A} follow"], "it has all there is, and waits for nothing"
    ahead = {A: {**STANDBY, "lsn": "1/0"}, B: {**STANDBY, "lsn": "0/FFFFFFFF"}}
    with pytest.raises(replication.RefusedError, match=r"has more \(1/0\) than .*`jinku promote a`, or --lost"):
        promoted(Pair(dict(ahead)))
    given_up = Pair(dict(ahead))
    promoted(given_up, lost=True)
    assert given_up.steps == [f"{B} promote"], "what it had more stands in the way of following; `jinku rejoin`"


def test_what_cannot_be_reached_is_given_up_only_on_somebody_s_word_and_never_while_it_lives(promoted):
    dead = {B: {**STANDBY, "streaming": False}}
    with pytest.raises(replication.RefusedError, match="--lost"):
        promoted(Pair(dict(dead)))
    with pytest.raises(replication.RefusedError, match=r"the volume is shut.*--lost"):
        promoted(Pair({**dead, A: {"role": "unknown", "running": False}}))
    with pytest.raises(replication.RefusedError, match="is alive: it answers"):
        promoted(Pair(dict(dead), peer_answers=True), lost=True)
    with pytest.raises(replication.RefusedError, match="still receives from it"):
        promoted(Pair({B: STANDBY}), lost=True)
    pair = Pair(dict(dead))
    assert "until 0 s ago" in promoted(pair, lost=True)[0]
    assert pair.steps == [f"{B} promote"]
    silent = Pair({B: {**STANDBY, "streaming": False, "lag_seconds": None}})
    assert "until nobody knows when" in promoted(silent, lost=True)[0]


def test_a_server_whose_answer_is_no_document_is_not_taken_for_anything(monkeypatch, tmp_path):
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path))
    done = subprocess.CompletedProcess([], 0, "Welcome to db1\n", "")
    monkeypatch.setattr(replication, "ask", lambda *_, **__: done)
    here, there = replication.pair(TOPOLOGY, Places("lab"), "b")
    assert (here.role, there.role) == ("unknown", "unknown")
    assert "Welcome to db1" in here.error


@pytest.mark.parametrize(
    ("database", "state"),
    [
        (PRIMARY, "ok"),
        (STANDBY, "ok"),
        ({**STANDBY, "streaming": False}, "does not follow"),
        ({**STANDBY, "lag_seconds": None}, "does not follow"),
        ({}, "database does not say what it is"),
    ],
)
def test_status_calls_a_database_well_only_when_it_says_so(database, state):
    node = TOPOLOGY.node(A)
    up = {service.name: True for service in status.services_of(TOPOLOGY, node)}
    found = status.NodeStatus(
        A, "a", node.zone, node.tiers, True, "running", (), up, "", "", database=database, rpo_seconds=900
    )
    assert (found.state, found.healthy) == (state, state == "ok")
