# SPDX-License-Identifier: Apache-2.0
"""What is said of a bad environment.yaml: each line names the field, what is wrong, and what a person may write there."""

import datetime as dt
import re
from typing import Any

import pytest
import yaml
from lab_choices import LAB, Problems
from wrong_values import every_wrong_value_is_told_in_our_words, schemas

from jinku.evidence.declared import Declared
from jinku.model.environment import Environment
from jinku.model.fields import FORMS
from jinku.places import CHECKOUT

OPERATORS = LAB["operators"]


def site_a(**changes: Any) -> dict[str, Any]:
    return {"sites": {**LAB["sites"], "a": {**LAB["sites"]["a"], **changes}}}


def operator_a(**changes: Any) -> dict[str, Any]:
    return {"operators": [{**OPERATORS[0], **changes}, *OPERATORS[1:]]}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (site_a(network="10.77.0.1/24"), "sites.a.network: is '10.77.0.1/24', an address in a network; 10.77.0.0/24, the network itself"),
        (site_a(network6="fd77:a::1/56"), "sites.a.network6: is 'fd77:a::1/56', an address in a network; fd77:a::/56, the network itself"),
        (site_a(network="fd77:a::/56"), "sites.a.network: is 'fd77:a::/56', which is IPv6; an IPv4 network, such as 10.20.0.0/24"),
        (site_a(network="head office"), "sites.a.network: is 'head office'; an IPv4 network, such as 10.20.0.0/24"),
        (site_a(network=10), "sites.a.network: is 10, which YAML takes for a number; an IPv4 network, such as 10.20.0.0/24"),
        ({"addresses": {"db1": {"address": "10.77.0.70/27"}}}, "addresses.db1.address: is '10.77.0.70/27', an address with the size of its network; 10.77.0.70"),
        ({"addresses": {"db1": {"address": "10.77.0.64/27"}}}, "addresses.db1.address: is '10.77.0.64/27', which is a network; an IPv4 address, such as 10.20.0.5"),
        ({"addresses": {"db1": {"address6": "10.77.0.70"}}}, "addresses.db1.address6: is '10.77.0.70', which is IPv4; an IPv6 address, such as fd20:a::5"),
    ],
)  # fmt: skip
def test_a_network_or_address_that_is_almost_right_is_answered_with_the_one_that_was_meant(
    problems: Problems, changes: dict[str, Any], line: str
) -> None:
    assert problems(changes) == [line]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"operators": ["abc"]}, "outside.operators.0: is 'abc'; an IPv4 or IPv6 network, such as 10.20.0.0/24 or fd20:a::/56"),
        ({"operators": ["10.9.0.1/28"]}, "outside.operators.0: is '10.9.0.1/28', an address in a network; 10.9.0.0/28, the network itself"),
        ({"time": ["ntp.example.com"]}, "outside.time.0: is 'ntp.example.com'; an IPv4 or IPv6 address, such as 10.20.0.5 or fd20:a::5"),
        ({"time": [5]}, "outside.time.0: is 5, which YAML takes for a number; an IPv4 or IPv6 address, such as 10.20.0.5 or fd20:a::5"),
        ({"others": {"siem": ["abc"]}}, "outside.others.siem.0: is 'abc'; an IPv4 or IPv6 network, such as 10.20.0.0/24 or fd20:a::/56"),
    ],
)  # fmt: skip
def test_a_field_that_takes_either_version_of_ip_is_told_once(
    problems: Problems, changes: dict[str, Any], line: str
) -> None:
    assert problems({"outside": changes}) == [line]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (site_a(zones={"app": {"network": "10.20.0.0/32"}}), "sites.a.zones.app.network: 10.20.0.0/32 is too small; a /29 or larger"),
        (site_a(zones={"app": {"network": "10.20.0.0/24", "network6": "fd20::/128"}}), "sites.a.zones.app.network6: fd20::/128 is not a /64; a /64"),
        ({"lab": {"wan": "10.20.0.0/32"}}, "lab.wan: 10.20.0.0/32 is too small for the controller and the routers; a /29 or larger"),
        ({"lab": {"link6": "fd20::/127"}}, "lab.link6: fd20::/127 is too small for the controller and the routers; a /125 or larger"),
        (site_a(zones={"app": {"network": "255.255.255.0/24"}}), "sites.a.zones.app: 255.255.255.0/24 is a loopback, multicast, link-local or reserved network; a private network"),
        (site_a(network="127.0.0.0/24"), "sites.a.network: 127.0.0.0/27 is a loopback, multicast, link-local or reserved network; a private network"),
    ],
)  # fmt: skip
def test_a_network_in_which_nobody_can_be_numbered_is_told(
    problems: Problems, changes: dict[str, Any], line: str
) -> None:
    far = {"nodes": [{"name": "far", "site": "a", "zone": "app", "number": 65000}]}
    assert problems({**changes, **far}) == [line]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (operator_a(keys=5), "operators.0.keys: is 5; a list, such as [ssh-ed25519 AAAA... name]"),
        ({"crm": {"languages": "en"}}, "crm.languages: is 'en'; a list, such as [zh_CN]"),
        ({"sites": ["a"]}, "sites: is ['a']; a mapping, such as {a: {network: 10.20.0.0/24}}"),
        ({"crm": "tryton"}, "crm: is 'tryton'; a mapping with keys such as app, languages, company, demo_data, administrators"),
        ({"crm": {"demo_data": "perhaps"}}, "crm.demo_data: is 'perhaps'; true or false"),
        ({"backup": {"hour": 24}}, "backup.hour: is 24; a whole number from 0 to 23"),
        ({"backup": {"hour": 2.5}}, "backup.hour: is 2.5; a whole number from 0 to 23"),
        ({"level": 4}, "level: is 4; 2 or 3"),
        ({"profile": "huge"}, "profile: is 'huge'; 'small' or 'standard'"),
    ],
)  # fmt: skip
def test_what_has_the_wrong_shape_is_told_with_a_right_one(
    problems: Problems, changes: dict[str, Any], line: str
) -> None:
    assert problems(changes) == [line]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"crm": {"company": 2026}}, "crm.company: is 2026, which YAML takes for a number; the same in quotes"),
        ({"crm": {"company": dt.date(2026, 5, 1)}}, "crm.company: is 2026-05-01, which YAML takes for a date; the same in quotes"),
        (site_a(title=True), "sites.a.title: is true, which YAML takes for true or false; the same in quotes"),
        ({"backup": {"hour": "2"}}, "backup.hour: is '2', which is text; a whole number from 0 to 23, without quotes"),
        ({"level": "3"}, "level: is '3', which is text; 2 or 3, without quotes"),
    ],
)  # fmt: skip
def test_quotes_too_few_or_too_many_are_told_as_such(problems: Problems, changes: dict[str, Any], line: str) -> None:
    assert problems(changes) == [line]


def test_a_section_left_empty_is_told_that_it_may_be_left_out(problems: Problems) -> None:
    assert problems({"lab": None}) == [
        "lab: is empty; a mapping with keys such as wan, wan6, link, link6, or leave the key out"
    ]
    assert problems(site_a(network=None)) == ["sites.a.network: is empty; an IPv4 network, such as 10.20.0.0/24"]


def test_a_list_too_short_or_too_long_is_told_with_its_limit(problems: Problems) -> None:
    sites = dict.fromkeys("abc", LAB["sites"]["b"])
    assert problems({"sites": sites}) == ["sites: has 3; at most 2"]
    assert problems({"sites": {}}) == ["sites: has 0; at least 1"]


def test_a_key_that_is_no_name_is_told_as_a_key(problems: Problems) -> None:
    name = "at most 22 small letters, digits and hyphens, a letter first and no hyphen last, such as name-1"
    for key in ("A B", "a[b", "[key]"):
        assert problems({"outside": {"others": {key: ["10.9.9.9/32"]}}}) == [
            f"outside.others.{key}: the key {key!r} cannot stand here; {name}"
        ]
    assert problems({"outside": {"others": {5: ["10.9.9.9/32"]}}}) == [
        f"outside.others.5: the key 5 cannot stand here; {name}"
    ]
    assert problems(site_a(zones={"aud": {"network": "10.9.9.0/24"}})) == [
        "sites.a.zones.aud: the key 'aud' cannot stand here; 'dmz', 'app', 'data', 'security', 'ops', 'audit' or 'facility'"
    ]
    assert problems({"crm": {False: 1}}) == [
        "crm.false: the key false is no text; the keys here are app, languages, company, demo_data, administrators"
    ]


def test_a_key_of_a_section_that_may_be_absent_is_named_with_the_nearest_one(problems: Problems) -> None:
    hook = {"address": "10.9.1.13", "name": "duty.example.internal", "prt": 443}
    assert problems({"alerts": {"webhook": hook}}) == ["alerts.webhook.prt: unknown key; did you mean 'port'?"]


def test_text_that_is_too_long_is_told_with_its_length_and_cut(problems: Problems) -> None:
    (line,) = problems({"crm": {"company": "x" * 300}})
    assert line.startswith(f"crm.company: is '{'x' * 59}... (300 characters); one line of 3 to 200 characters, ")


def test_a_private_key_that_went_astray_is_not_repeated(problems: Problems) -> None:
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n-----END OPENSSH PRIVATE KEY-----"
    for changes in (
        {"existing": {"key": key}},
        {"existing": {"key": [key]}},
        operator_a(keys=[key]),
        operator_a(keys=key),
    ):
        assert not any("b3Blbn" in line for line in problems(changes))


def test_every_pattern_has_words_and_an_example_that_it_accepts() -> None:
    nodes = list(schemas(Environment))
    patterns = {node["pattern"] for node in nodes if isinstance(node.get("pattern"), str)}
    assert patterns | {pattern for node in nodes for pattern in node.get("patternProperties", ())} == FORMS.keys()
    for pattern, form in FORMS.items():
        assert form.words
        assert not form.example or re.search(pattern, form.example), pattern


def test_no_field_is_of_a_kind_that_has_no_words() -> None:
    """Whoever gives a model a time, say, finds here that error_wording does not know one."""
    nodes = [*schemas(Environment), *schemas(Declared)]
    types = {node["type"] for node in nodes if isinstance(node.get("type"), str)}
    assert types == {"array", "boolean", "integer", "null", "number", "object", "string"}
    formats = {node["format"] for node in nodes if isinstance(node.get("format"), str)}
    assert formats == {"date", "ipv4", "ipv4network", "ipv6", "ipv6network"}


#: The worked example, with every section in it that an environment may leave out.
WHOLE: dict[str, Any] = {
    **yaml.safe_load((CHECKOUT / "inventories/standard/environment.yaml").read_text(encoding="utf-8")),
    "edge": {"certificate": "acme", "acme_directory": "https://acme.example.com/", "acme_contact": "ops@example.com"},
    "addresses": {"crm1": {"address": "10.20.0.40"}},
    "nodes": [{"name": "crm9", "site": "a", "zone": "app", "tiers": ["crm"], "number": 9}],
    "flows": [{"source": "crm", "destination": "siem", "port": 514, "en": "events", "zh": "安全事件"}],
    "existing": {"disks": {"db1-data": {"device": "/dev/vdb"}}},
}
WHOLE["sites"]["a"]["zones"] = {"app": {"network": "10.20.9.0/24"}}
WHOLE["outside"]["others"] = {"siem": ["10.9.0.5/32"]}


def test_every_wrong_value_of_every_field_is_told_in_our_words_in_one_line_with_a_remedy() -> None:
    every_wrong_value_is_told_in_our_words(Environment, WHOLE)
