# SPDX-License-Identifier: Apache-2.0
"""A check right behind an `up` that changed the monitor waits for what it does first; what stays unknown is told."""

import importlib
from collections import Counter

import pytest

from jinku.places import CHECKOUT

NEW = {"job": "edge", "node": "edge1", "instance": "https://crm/", "authority": "outside"}
OLD = NEW | {"authority": "inside"}


@pytest.fixture
def module(monkeypatch):
    """compliance_tests/monitor_api.py, with no time between two trials."""
    monkeypatch.syspath_prepend(CHECKOUT / "compliance_tests")
    module = importlib.import_module("monitor_api")
    asking = importlib.import_module("asking")
    monkeypatch.setattr(asking.time, "sleep", lambda _: None)
    monkeypatch.setattr(asking, "_TRIAL", Counter())
    return module


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ([[(OLD, 1.0)], [(OLD, 1.0), (NEW, 1.0)]], {"https://crm/": 1.0}),
        ([[(OLD, 1.0), (NEW, 0.0)]], {"https://crm/": 0.0}),
        ([[(OLD, 1.0)]] * 10, {"https://crm/": None}),
    ],
)
def test_a_target_that_the_monitor_had_before_its_settings_changed_says_nothing_for_the_present_one(
    module, monkeypatch, told, found
):
    monitor = object.__new__(module.Monitor)
    answers = iter(told)
    monkeypatch.setattr(module.Monitor, "query", lambda *_: next(answers))
    targets = {"data": {"activeTargets": [{"labels": NEW}, {"labels": NEW | {"node": "edge2"}}]}}
    monkeypatch.setattr(module.Monitor, "get", lambda *_: targets)
    assert monitor.looks("edge", "edge1") == found
    assert next(answers, None) is None, "it ends once every target has an answer"


@pytest.mark.parametrize(("unknown", "asked", "health"), [(0, 1, "ok"), (2, 3, "ok"), (99, 10, "unknown")])
def test_rules_that_were_not_evaluated_yet_are_asked_about_again(module, monkeypatch, unknown, asked, health):
    paths = []

    def get(_, path):
        paths.append(path)
        said = "unknown" if len(paths) <= unknown else "ok"
        return {"data": {"groups": [{"rules": [{"name": "HostDown", "health": said}]}]}}

    monitor = object.__new__(module.Monitor)
    monkeypatch.setattr(module.Monitor, "get", lambda _, *asked: get(*asked))
    assert monitor.rules()["HostDown"]["health"] == health
    assert len(set(paths)) == len(paths) == asked, "the same question is asked once a session"
    monitor.rules()
    assert paths[asked:] == paths[asked - 1 : asked], "the next test goes on where this one ended"
