# SPDX-License-Identifier: Apache-2.0
"""What may be to come just after `up` is waited for once a session, with a question that differs each time."""

import importlib
import json
from collections import Counter
from types import SimpleNamespace

import pytest

from jinku.places import CHECKOUT

NONE = {"database": [], "attachments": [], "vault": []}
ALL = {"database": [1], "attachments": [1], "vault": [1]}


@pytest.fixture
def pauses(monkeypatch):
    """Seconds that were waited; no time goes by."""
    monkeypatch.syspath_prepend(CHECKOUT / "compliance_tests")
    asking = importlib.import_module("jinku.evidence.waiting")
    waited = []
    monkeypatch.setattr(asking.time, "sleep", waited.append)
    monkeypatch.setattr(asking, "_TRIAL", Counter())
    return waited


class Host:
    """A backup host whose copies are there from a trial on, and whose answers to one question are all the first one."""

    def __init__(self, there_from, under_way_until):
        self.backend = SimpleNamespace(hostname="aud2")
        self.asked = {}
        self.there_from, self.under_way_until = there_from, under_way_until

    def check_output(self, command):
        trial = int(command.rpartition(" ; : ")[2]) if " ; : " in command else 0
        units = "jinku-backup@full.service loaded activating" if trial < self.under_way_until else ""
        said = units if command.startswith("systemctl") else json.dumps(ALL if trial >= self.there_from else NONE)
        return self.asked.setdefault(command, said)


def test_trials_end_after_their_number_and_a_second_asker_has_the_last_one_alone(pauses):
    asking = importlib.import_module("jinku.evidence.waiting")
    assert list(asking.trials("a thing", times=3, pause_s=7)) == [0, 1, 2]
    assert pauses == [7, 7], "no pause behind the last"
    assert list(asking.trials("a thing", times=3, pause_s=7)) == [2]
    assert list(asking.trials("another", times=2, pause_s=1)) == [0, 1]


@pytest.mark.parametrize(
    ("there_from", "under_way_until", "waits", "found"),
    [(0, 0, 0, ALL), (2, 9, 2, ALL), (99, 3, 3, NONE), (99, 99, 29, NONE)],
)
def test_first_copies_that_are_being_made_are_asked_about_anew(pauses, there_from, under_way_until, waits, found):
    """Nothing is waited for where nothing is under way, and the next test does not wait again."""
    backup = importlib.import_module("backups")
    host = Host(there_from, under_way_until)
    assert backup.listed(host) == found
    assert pauses == [3] * waits
    assert backup.listed(host) == found
    assert len(pauses) == waits
