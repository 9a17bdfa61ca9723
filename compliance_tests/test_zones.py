# SPDX-License-Identifier: Apache-2.0
"""Zones: each host stands in the one that was declared for it, and in no other."""

import json
from ipaddress import ip_address

import pytest
from filters import is_router, site_of

from jinku.evidence.sabotage import Sabotage


@pytest.mark.control("dengbao:8.1.2.1.c", "dengbao:8.1.10.6.j", "dengbao:8.1.3.1.b", "iso27001:A.8.22")
@pytest.mark.objects("network")
@pytest.mark.setting
def test_addresses_lie_in_the_declared_zones(host, subject, topology):
    """Each interface's addresses are those of the zone that it is declared for, and there is no other interface.

    zh: 各接口地址均属于其声明的区域，且无其他接口。
    """
    seen = {
        link["ifname"]: [ip_address(one["local"]) for one in link["addr_info"] if one["scope"] == "global"]
        for link in json.loads(host.check_output("ip -j addr show"))
        if link["ifname"] != "lo"
    }
    if is_router(subject):
        for zone in {node.zone for node in topology.nodes if node.site == site_of(subject)}:
            networks = topology.zones[site_of(subject), zone]
            for wanted in filter(None, (networks.network, networks.network6)):
                assert any(one in wanted for found in seen.values() for one in found), (
                    f"no leg in zone {zone}: {wanted}"
                )
        lan = [one for name, found in seen.items() if name not in ("wan", "link") for one in found]
        strange = [
            one
            for one in lan
            if not any(one in network for network in topology.inside if network.version == one.version)
        ]
        assert not strange, f"addresses of no zone: {strange}"
        return
    node = topology.node(subject.node)
    assert list(seen) == [node.interface], f"interfaces: {', '.join(seen)}"
    assert set(seen[node.interface]) == set(node.addresses), f"addresses: {', '.join(map(str, seen[node.interface]))}"


@pytest.mark.control("dengbao:8.1.3.1.a", "iso27001:A.8.20")
@pytest.mark.objects("network")
@pytest.mark.setting
def test_only_the_router_stands_in_two_zones(host, subject, topology):
    """A node does not forward and has one leg; a router's legs are the declared ones.

    zh: 节点不转发且只有一个接口；路由器接口与声明一致。
    """
    forwarding = host.check_output("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding").split()
    legs = [link["ifname"] for link in json.loads(host.check_output("ip -j link show")) if link["ifname"] != "lo"]
    if is_router(subject):
        zones = {zone for site, zone in topology.zones if site == site_of(subject)}
        assert set(legs) <= {*zones, "wan", "link"}, (
            f"undeclared legs: {', '.join(sorted(set(legs) - zones - {'wan', 'link'}))}"
        )
        return
    assert forwarding == ["0", "0"], "the node forwards packets"
    assert len(legs) == 1, f"legs: {', '.join(legs)}"


SABOTAGE = (
    Sabotage(
        "a node forwards, and has an address of another zone",
        on="network",
        breaks="sysctl -qw net.ipv4.ip_forward=1 && ip addr add 10.250.0.1/24 dev eth0"
        " && ip route add $(getent ahostsv4 crm1 | awk 'NR == 1 {print $1}') dev eth0 scope link",
        mends="ip route del $(getent ahostsv4 crm1 | awk 'NR == 1 {print $1}') dev eth0; ip addr del 10.250.0.1/24 dev eth0;"
        # Not by its own: a kernel that forwards no more believes redirects again, whatever was set before.
        " systemctl restart systemd-sysctl.service",
        kills=(
            "test_only_the_router_stands_in_two_zones",
            "test_addresses_lie_in_the_declared_zones",
        ),
    ),
)
