# SPDX-License-Identifier: Apache-2.0
"""Flows that an environment adds, and places outside: what would open too much is refused, the others reach the firewalls."""

from typing import Any

import pytest
from lab_choices import LabWith, Problems

from jinku.model.rendering import renderings


def flow(source: str, destination: str, port: int = 9999, **more: Any) -> dict[str, Any]:
    return {
        "flows": [{"source": source, "destination": destination, "port": port, "en": "a test", "zh": "测试用", **more}]
    }


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (flow("internet", "crm", 8443), "only edge:443 and edge:80"),
        (flow("internet", "bastion", 22), "only edge:443 and edge:80"),
        (flow("internet", "edge", 22), "only edge:443 and edge:80"),
        (flow("internet", "edge", 443, protocol="udp"), "only edge:443 and edge:80"),
        (flow("operators", "postgres", 5432), "operators reach the bastion's SSH only"),
        (flow("operators", "edge", 22), "operators reach the bastion's SSH only"),
        (flow("edge", "crm", 22), "only the bastion does"),
        (flow("postgres", "crm"), "only vault, log, time, packages"),
        (flow("edge", "postgres", 5432), "lets the dmz reach the data zone"),
        (flow("crm", "internet", 443), "would open the whole Internet"),
        (flow("crm", "nowhere"), "is no tier, node or place outside"),
        (flow("internet", "mirror"), "neither end is a node"),
    ],
)
def test_a_flow_that_breaks_an_invariant_is_refused(problems: Problems, changes: dict[str, Any], rule: str) -> None:
    assert any(rule in line for line in problems(changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (flow("nobody", "internet", 0), ["flows.0.port", "flows.0.source", "flows.0.destination"]),
        (flow("No Body", "nowhere"), ["flows.0.source", "flows.0.destination"]),
        (flow("edge", "postgres", 5432, en="x"), ["flows.0.en", "flows (edge>postgres-tcp5432)"]),
        (flow("crm", "nowhere", why="so"), ["flows.0.why", "flows.0.destination"]),
        (flow("edge", "crm", 22, protocol="icmp"), ["flows.0.protocol"]),  # rules speak of ports: no guess at them
    ],
)
def test_all_faults_of_a_flow_are_told_at_once(problems: Problems, changes: dict[str, Any], told: list[str]) -> None:
    assert [line.partition(": ")[0] for line in problems(changes)] == told


@pytest.mark.parametrize("place", ["operators", "others"])
def test_a_place_outside_that_is_inside_is_refused(problems: Problems, place: str) -> None:
    """An operators' network that holds the sites would let every host inside open SSH to the bastion."""
    outside = {"operators": {"operators": ["10.0.0.0/8"]}, "others": {"others": {"partner": ["10.77.0.64/27"]}}}[place]
    assert any("overlaps the environment's own networks" in line for line in problems({"outside": outside}))


@pytest.mark.parametrize(
    "text", ['x" accept; }', "a\nb accept", "$(reboot)", "`id`", "}; flush ruleset; {", "tcp dport 22 | accept", "a;b"]
)
def test_text_that_tries_to_be_a_rule_is_refused(problems: Problems, text: str) -> None:
    assert problems(flow("crm", "log", en=text))[0].startswith("flows.0.en: ")
    assert any("flows.0.source" in line for line in problems(flow(text, "log")))
    assert problems({"outside": {"others": {text: ["10.9.9.9/32"]}}})


def test_a_flow_of_the_operator_reaches_both_firewalls(lab_with: LabWith) -> None:
    extra = {**flow("log", "siem", 6514), "outside": {"others": {"siem": ["10.9.0.5/32"]}}}
    rendered = renderings(lab_with(extra))
    assert (
        'ip daddr { 10.9.0.5 } tcp dport 6514 ct state new accept comment "log>siem-tcp6514"'
        in rendered["firewall/aud1.nft"]
    )
    assert "log>siem-tcp6514" in rendered["firewall/router-a.nft"]
    assert "siem" not in rendered["firewall/crm1.nft"]
