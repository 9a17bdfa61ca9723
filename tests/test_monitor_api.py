# SPDX-License-Identifier: Apache-2.0
"""A check right behind an `up` that changed the monitor waits for what it does first; what it looked at before says nothing."""

import importlib
from collections import Counter
from types import SimpleNamespace

import pytest

from jinku.places import CHECKOUT

NEW = {"job": "edge", "node": "edge1", "instance": "https://crm/", "authority": "outside"}
OLD = NEW | {"authority": "inside"}
OTHER = NEW | {"node": "edge2", "instance": "https://crm2/"}


class Answers:
    """What Prometheus tells: each tuple holds what it says from trial to trial, its last one for ever."""

    def __init__(self, health=("up",), rules=("ok",), sent=(1,), told=((NEW, 1.0),)):
        self.health, self.rules, self.sent, self.told = health, rules, sent, told

    def of(self, path, trial):
        def now(values):
            return values[min(trial, len(values) - 1)]

        if "targets" in path:
            targets = [{"labels": labels, "health": now(self.health)} for labels in (NEW, OTHER)]
            return {"data": {"activeTargets": targets}}
        if "rules" in path:
            return {"data": {"groups": [{"rules": [{"name": "HostDown", "health": now(self.rules)}]}]}}
        if "notifications" in path:
            sample = {"metric": {"integration": "email"}, "value": [0, str(now(self.sent))]}
            return {"data": {"result": [sample]}}
        return {"data": {"result": [{"metric": labels, "value": [0, str(value)]} for labels, value in self.told]}}


@pytest.fixture
def begun(monkeypatch):
    """Makes a Monitor over given answers: (monitor, paths that were asked). No time goes by between two trials."""
    monkeypatch.syspath_prepend(CHECKOUT / "compliance_tests")
    module, asking = importlib.import_module("monitor_api"), importlib.import_module("jinku.evidence.waiting")
    monkeypatch.setattr(asking.time, "sleep", lambda _: None)
    monkeypatch.setattr(asking, "_TRIAL", Counter())
    node = SimpleNamespace(name="ops1")
    env = SimpleNamespace(domain="lab.internal")
    topology = SimpleNamespace(nodes_of=lambda _: [node], env=env)
    fleet = SimpleNamespace(host=lambda _: None)
    monkeypatch.setattr(module, "alerts_of", lambda _: SimpleNamespace(mail="it@example.com", webhook=""))

    def make(answers):
        memory = {}

        def said(_host, _script, *words):
            path = words[3]
            trial = int(path.rpartition("trial=")[2]) if "trial=" in path else 0
            memory.setdefault(path, answers.of(path, trial))
            return f"status 200\n{module.json.dumps(memory[path])}"

        monkeypatch.setattr(module, "ask", said)
        return module.Monitor(fleet, topology, SimpleNamespace(node="edge1")), memory

    return make


@pytest.mark.parametrize(
    ("answers", "trials"),
    [
        (Answers(), 0),
        (Answers(health=("unknown", "unknown", "up")), 2),
        (Answers(rules=("unknown", "ok")), 1),
        (Answers(sent=(0, 0, 0, 1)), 3),
        (Answers(rules=("unknown",)), 9),
    ],
)
def test_a_monitor_that_has_not_begun_is_asked_anew(begun, answers, trials):
    monitor, memory = begun(answers)
    asked = [path for path in memory if "rules" in path or "targets" in path]
    assert max(int(path.rpartition("=")[2]) if "trial=" in path else 0 for path in asked) == trials
    assert monitor.rules()["HostDown"]["health"] == answers.rules[-1], "what stays unknown is told"
    before = len(memory)
    monitor.query("up")
    assert [path.endswith(f"&trial={trials}") for path in list(memory)[before:]] == [trials > 0]


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (((OLD, 1.0), (NEW, 0.0)), {"https://crm/": 0.0}),
        (((OLD, 1.0), (NEW, 1.0), (OTHER, 0.0)), {"https://crm/": 1.0}),
        (((OLD, 1.0),), {"https://crm/": None}),
    ],
)
def test_a_target_that_it_had_before_its_settings_changed_says_nothing_for_the_present_one(begun, told, found):
    monitor, _ = begun(Answers(told=told))
    assert monitor.looks("edge", "edge1", "probe_success") == found


@pytest.mark.parametrize(("there_from", "asked", "found"), [(0, 1, True), (3, 4, True), (99, 7, False)])
def test_what_a_host_tells_each_minute_is_waited_for(begun, monkeypatch, there_from, asked, found):
    monitor, _ = begun(Answers())
    questions = []

    def query(expression, anew=0):
        questions.append((expression, anew))
        return [({}, 1.0)] if anew >= there_from else []

    monkeypatch.setattr(monitor, "query", query)
    assert bool(monitor.appeared("lag")) is found
    assert len(set(questions)) == len(questions) == asked


def test_a_silence_that_is_to_come_counts_and_one_that_ended_does_not(begun, monkeypatch):
    monitor, _ = begun(Answers())
    said = [
        {"matchers": [{"name": "alertname", "value": state}], "status": {"state": state}}
        for state in ("active", "pending", "expired")
    ]
    monkeypatch.setattr(monitor, "get", lambda *_: said)
    assert monitor.silences() == ["alertname=active", "alertname=pending"]
