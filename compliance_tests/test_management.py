# SPDX-License-Identifier: Apache-2.0
"""Management, of hosts and of security devices, comes from a zone of its own, over the bastion."""

from functools import cache
from ipaddress import ip_address as _parsed
from ipaddress import ip_network

import pytest
from faults.probes import OUTSIDE
from faults.sweep import through
from filters import is_router, loaded, site_of

from jinku.evidence.sabotage import Sabotage
from jinku.model.topology import OPERATORS, SERVICES

ip_address = cache(_parsed)  # a few addresses, asked for thousands of times
#: Services by which hosts and security devices are run and watched, whatever they are for.
MANAGED_BY = ("ssh", "node_metrics")
MANAGEMENT_ZONE = "ops"


def management_sources(topology):
    """Networks of the management zone at every site, and of the people outside who come to its bastion."""
    own = [
        network
        for (_, zone), networks in topology.zones.items()
        if zone == MANAGEMENT_ZONE
        for network in (networks.network, networks.network6)
        if network
    ]
    return own, [network for pair in topology.allowed() if pair.source == OPERATORS for network in pair.source_networks]


def sources_of(expression):
    """Source networks that a rule of nft names, None where it names none."""
    for part in expression:
        match = part.get("match", {})
        if match.get("left", {}).get("payload", {}).get("field") == "saddr" and match["op"] == "==":
            right = match["right"]
            named = right["set"] if isinstance(right, dict) and "set" in right else [right]
            return [
                ip_network(f"{one['prefix']['addr']}/{one['prefix']['len']}" if isinstance(one, dict) else one)
                for one in named
            ]
    return None


def within(network, others):
    return any(network.version == other.version and network.subnet_of(other) for other in others)


@pytest.mark.control("dengbao:8.1.5.4.a", "dengbao:8.1.5.4.b", "iso27001:A.8.22")
@pytest.mark.objects("network")
@pytest.mark.setting
def test_management_comes_from_its_own_zone_only(host, subject, topology):
    """Every rule that lets management in (SSH, state of hosts) names sources in the management zone; the bastion alone takes operators.

    zh: 管理端口（SSH、状态采集）的放行规则仅以管理区为源；仅堡垒机接受区外运维人员。
    """
    zone, operators = management_sources(topology)
    assert zone, "there is no management zone"
    ports = {SERVICES[name].port for name in MANAGED_BY}
    seen = set()
    for entry in loaded(host):
        rule = entry.get("rule", {"expr": [], "chain": ""})
        expression = rule["expr"]
        if rule["chain"] != ("forward" if is_router(subject) else "input") or {"accept": None} not in expression:
            continue
        for part in expression:
            match = part.get("match", {})
            if match.get("left", {}).get("payload", {}).get("field") == "dport" and match["right"] in ports:
                seen.add(match["right"])
                named = sources_of(expression)
                assert named, f"port {match['right']} is open to any source"
                bastion = is_router(subject) or "bastion" in subject.tiers
                allowed = [*zone, *(operators if bastion and match["right"] == SERVICES["ssh"].port else [])]
                strange = [str(one) for one in named if not within(one, allowed)]
                assert not strange, f"port {match['right']} is open to {', '.join(strange)}"
    assert is_router(subject) or seen, "no management is let in at all, so this proves nothing"


@pytest.mark.control("dengbao:8.1.5.4.a", "dengbao:8.1.5.4.b", "iso27001:A.8.22")
@pytest.mark.objects("network")
@pytest.mark.behaviour
def test_management_from_anywhere_else_is_refused(sweep, subject, topology):
    """Tried by a stranger on the same segment, by one outside and from every other zone: the management ports are shut; from their zone they open.

    zh: 由同网段、区外及其他各区尝试管理端口均被拒绝；自管理区可达。
    """
    ports = {SERVICES[name].port for name in MANAGED_BY}
    here = [one for one in topology.nodes if one.site == site_of(subject) or one.name == subject.node]
    if is_router(subject):
        answers, _ = through(sweep, site_of(subject))
        tried = {(key, *where): said for key, found in answers.items() for where, said in found.items()}
    else:
        node = topology.node(subject.node)
        tried = {("beside it", *where): said for where, said in sweep.into(node, sweep.key(node))[0].items()}
    bastions = {str(address) for one in topology.nodes_of("bastion") for address in one.addresses}
    mine = {
        key: said for key, said in tried.items() if key[2] in ports and not (key[0] == OUTSIDE and key[1] in bastions)
    }
    assert mine, "no management port was tried by a stranger"
    opened = [f"{key[1]}:{key[2]} from {key[0]}" for key, said in mine.items() if said == "open"]
    assert not opened, f"open: {', '.join(opened[:4])}"
    reached = set()
    for source in topology.nodes:
        for (address, port), said in sweep.between(source).items():
            target = next((one for one in here if ip_address(address) in one.addresses), None)
            if target is None or target == source or port not in ports or said != "open":
                continue
            assert source.zone == MANAGEMENT_ZONE, f"{source.name} in zone {source.zone} reaches {address}:{port}"
            reached.add(port)
    # To the bastion itself nobody inside has to come.
    assert reached or "bastion" in subject.tiers, (
        "management does not work from its own zone either, so a refusal proves nothing"
    )


SABOTAGE = (
    Sabotage(
        "the management port of a node forgets its source",
        on="network",
        breaks="nft 'insert rule inet jinku input tcp dport 22 accept comment \"bastion>ssh\"'",
        mends="systemctl restart jinku-firewall.service",
        kills=("test_management_comes_from_its_own_zone_only", "test_management_from_anywhere_else_is_refused"),
    ),
)
