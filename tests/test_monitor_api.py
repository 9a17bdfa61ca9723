# SPDX-License-Identifier: Apache-2.0
"""A check right behind an `up` that restarted the monitor waits for its first evaluation; a rule that stays unknown is told."""

import importlib

import pytest

from jinku.places import CHECKOUT


@pytest.mark.parametrize(("unknown", "asked", "health"), [(0, 1, "ok"), (2, 3, "ok"), (99, 10, "unknown")])
def test_rules_that_were_not_evaluated_yet_are_asked_about_again(monkeypatch, unknown, asked, health):
    monkeypatch.syspath_prepend(CHECKOUT / "compliance_tests")
    module = importlib.import_module("monitor_api")
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    monkeypatch.setattr(module.Monitor, "trial", 0)
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
