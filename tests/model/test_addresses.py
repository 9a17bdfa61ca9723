# SPDX-License-Identifier: Apache-2.0
"""Networks, zones and addresses that cannot be: each is refused."""

import copy

from lab_choices import LAB, Problems


def test_overlapping_networks_are_refused(problems: Problems) -> None:
    sites = copy.deepcopy(LAB["sites"])
    sites["b"]["network"] = "10.77.0.128/25"
    assert any("overlaps" in line for line in problems({"sites": sites}))
    assert any("lab.wan" in line and "overlaps" in line for line in problems({"lab": {"wan": "10.77.1.0/28"}}))


def test_a_site_too_small_for_its_zones_is_refused(problems: Problems) -> None:
    sites = copy.deepcopy(LAB["sites"])
    sites["a"]["network"] = "10.77.0.0/27"
    assert problems({"sites": sites}) == [
        "sites.a.network: 10.77.0.0/27 is too small for eight zones of a /29; a /26 or larger, /24 is usual"
    ]


def test_a_zone_too_small_for_its_nodes_is_refused(problems: Problems) -> None:
    nodes = [{"name": "crm9", "site": "a", "zone": "app", "tiers": ["crm"], "number": 31}]
    assert "is not a host's address in 10.77.0.32/27" in problems({"nodes": nodes})[0]


def test_an_ipv6_address_in_a_zone_without_ipv6_is_refused(problems: Problems) -> None:
    sites = copy.deepcopy(LAB["sites"])
    del sites["a"]["network6"]
    assert problems({"sites": sites, "addresses": {"crm1": {"address6": "fd77:a:0:1::9"}}}) == [
        "addresses.crm1: fd77:a:0:1::9 needs a zone with IPv6, and app of site a has none; no IPv6 address, or `network6` of the site"
    ]


def test_a_network_with_host_bits_is_refused(problems: Problems) -> None:
    sites = copy.deepcopy(LAB["sites"])
    sites["a"]["network"] = "10.77.0.1/24"
    assert problems({"sites": sites})[0].startswith("sites.a.network: ")
