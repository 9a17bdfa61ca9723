# SPDX-License-Identifier: Apache-2.0
"""One malformed section of environment.yaml hides nothing that is wrong elsewhere, and nothing is said of what nobody wrote."""

from typing import Any, cast

import pytest
import yaml
from lab_choices import LAB, Problems

from jinku.model.environment import Environment
from jinku.model.invariants import _STEPS
from jinku.model.invariants import problems as topology_problems
from jinku.places import CHECKOUT


def example(name: str) -> dict[str, Any]:
    choices: dict[str, Any] = yaml.safe_load((CHECKOUT / f"inventories/{name}/environment.yaml").read_text("utf-8"))
    return choices


SECTIONS = sorted(Environment.model_fields)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKxiqn6nUdMwOAF7rKMLs8uUoDoVkjSoSV5Upx1VGdVf one"

#: Changes of the lab that break a rule which speaks of more than one field, each with the fields that it is told of.
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "people": ({"operators": [{**one, "duty": "system"} for one in LAB["operators"]]}, "operators"),
    "shared key": ({"operators": [{**one, "keys": [KEY]} for one in LAB["operators"]]}, "operators"),
    "seal": ({"vault": {"seal": "static"}, "disposable": False}, "vault.seal"),
    "small site": ({"sites": {**LAB["sites"], "a": {"network": "10.77.0.0/28"}}}, "sites.a.network"),
    "overlap": ({"lab": {"wan": "10.77.1.0/28"}}, "sites.b.network"),
    "disk": ({"existing": {"disks": {"nowhere": {"device": "/dev/vdb"}}}}, "existing.disks.nowhere"),
    "acme": ({"outside": {"acme": ["192.0.2.9"]}}, "outside.acme"),
    "node": ({"nodes": [{"name": "x1", "site": "c", "zone": "app", "number": 9}]}, "nodes.0.site"),
    "address": ({"addresses": {"db1": {"address": "10.9.9.9"}}}, "addresses.db1"),
    "ups": ({"room": {"ups": {"c": {"address": "10.9.9.9", "name": "ups.example.internal"}}}}, "room.ups.c"),
    "flow": ({"flows": [{"source": "crm", "destination": "x", "port": 9, "en": "a test", "zh": "测试用"}]}, "flows.0.destination"),
    "version": ({"jinku": ">=9"}, "jinku"),
}  # fmt: skip


@pytest.mark.parametrize("section", SECTIONS)
def test_a_malformed_section_of_a_right_environment_is_all_that_is_told(problems: Problems, section: str) -> None:
    (line,) = problems({section: ["malformed"]})
    assert line.startswith((f"{section}: ", f"{section}.0: "))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("section", SECTIONS)
def test_beside_a_malformed_section_only_what_is_wrong_without_it_is_told(
    problems: Problems, section: str, fault: str
) -> None:
    changes, _ = FAULTS[fault]
    first, *others = problems({**changes, section: ["malformed"]})
    assert first.startswith((f"{section}: ", f"{section}.0: "))
    assert set(others) <= set(problems(changes))


@pytest.mark.parametrize(
    "section", ["crm", "name", "domain", "timezone", "level", "retention", "backup", "schema_version"]
)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_no_rule_needs_hides_no_fault(problems: Problems, section: str, fault: str) -> None:
    changes, field = FAULTS[fault]
    assert any(line.startswith(field) for line in problems({**changes, section: {"x": []}}))


@pytest.mark.parametrize(
    ("malformed", "fault"),
    [
        ("operators", "small site"),
        ("operators", "overlap"),
        ("operators", "address"),
        ("operators", "flow"),
        ("sites", "people"),
        ("sites", "seal"),
        ("outside", "shared key"),
        ("flows", "address"),
        ("room", "node"),
        ("alerts", "ups"),
        ("edge", "overlap"),
        ("profile", "people"),
        ("lab", "version"),
    ],
)
def test_faults_of_independent_sections_are_told_in_one_round(problems: Problems, malformed: str, fault: str) -> None:
    changes, field = FAULTS[fault]
    told = [line.partition(": ")[0] for line in problems({**changes, malformed: 5})]
    assert told[0] == malformed
    assert any(one.startswith(field) for one in told[1:])


def test_who_is_malformed_in_a_list_of_people_does_not_hide_the_networks(problems: Problems) -> None:
    operators = [{**LAB["operators"][0], "duty": "auditor"}, *LAB["operators"][1:]]
    told = problems({"operators": operators, "lab": {"wan": "10.77.1.0/28"}, "crm": {"demo_data": "perhaps"}})
    assert [line.partition(": ")[0] for line in told] == ["operators.0.duty", "crm.demo_data", "sites.b.network"]


class _Watched:
    """An environment that notes which of its sections are read."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self.env, name)


@pytest.mark.parametrize("fault", [None, *FAULTS])
@pytest.mark.parametrize("name", ["lab", "small", "standard"])
def test_rules_read_no_section_but_those_that_they_say_they_need(name: str, fault: str | None) -> None:
    changes = FAULTS[fault][0] if fault else {}
    edge = {"certificate": "acme", "acme_directory": "https://acme.example.com/"}
    env = Environment.model_validate({**example(name), "edge": edge, **changes})
    for step in _STEPS:
        for rules in step:
            watched = _Watched(env)
            list(rules.find(cast("Environment", watched)))
            assert watched.read - {"domain"} <= rules.needs, rules.find
        if topology_problems(env):
            break


def test_a_rule_is_left_out_with_the_sections_of_the_earlier_rules_that_guard_it() -> None:
    """Whoever computes the nodes takes for granted that each stands at a site, and that a site has room for its zones."""
    first, second, *later = _STEPS
    guards = {rules.find.__name__: rules.needs for rules in (*first, *second)}
    for step in (second, *later):
        for rules in step:
            assert guards["_sites"] <= rules.needs
            assert "nodes" not in rules.needs or guards["_names"] <= rules.needs
            assert guards["_networks"] <= rules.needs
