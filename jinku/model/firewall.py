# SPDX-License-Identifier: Apache-2.0
"""nftables rulesets of nodes and site routers, rendered from the flows.

One table of our own, ``inet jinku``, replaced in one transaction; other tables (fail2ban's) stay. Comments carry the
flow's id only: nft allows 128 bytes, and a quote in free text could carry a second rule (FINDINGS.md, Network).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from jinku.model.topology import ANYWHERE, AllowedFlow, Network, Node, Topology

TABLE = "inet jinku"

# Neighbour discovery and path MTU: without them IPv6 does not work at all (RFC 4890, 4.4.1).
_ICMP6_NEEDED = "{ nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, packet-too-big, destination-unreachable, time-exceeded, parameter-problem }"
# The kernel takes a lone ACK for the beginning of a session (nf_conntrack_tcp_loose); a session begins with a SYN.
# Connections that were open before the first load are learnt before it (hardening/firewall, `learn`).
_NO_SESSION = "tcp flags & (fin | syn | rst | ack) != syn ct state new counter drop"
_ICMP4_NEEDED = "{ destination-unreachable, time-exceeded, parameter-problem }"


def node_ruleset(topology: Topology, node: Node) -> str:
    """The packet filter of one node.

    :param topology: the environment's topology.
    :param node: one of its nodes.
    :returns: text for ``nft -f``: default deny in, out and through; accepted are loopback, answers, what IPv6 needs, and
        new connections of each allowed flow from and to exactly its addresses.
    """
    incoming = _grouped(pair for pair in topology.allowed() if pair.destination == node.name)
    outgoing = _grouped(pair for pair in topology.allowed() if pair.source == node.name)
    return _table(
        [
            *_chain(
                "input",
                "input",
                [
                    'iif "lo" accept',
                    "ct state established,related accept",
                    "ct state invalid drop",
                    _NO_SESSION,
                    f"icmpv6 type {_ICMP6_NEEDED} accept",
                    f"icmp type {_ICMP4_NEEDED} accept",
                    *_rules(incoming, sources=True),
                    'limit rate 5/second burst 20 packets log prefix "jinku-in-drop " level info',
                    "counter drop",
                ],
            ),
            *_chain("forward", "forward", ["counter drop"]),
            *_chain(
                "output",
                "output",
                [
                    'oif "lo" accept',
                    "ct state established,related accept",
                    f"icmpv6 type {_ICMP6_NEEDED} accept",
                    f"icmp type {_ICMP4_NEEDED} accept",
                    *_rules(outgoing, destinations=True),
                    'limit rate 5/second burst 20 packets log prefix "jinku-out-drop " level info',
                    # Refused at once, so that a program fails with an error and not after minutes; nothing leaves the host.
                    "counter reject with icmpx admin-prohibited",
                ],
            ),
        ]
    )


def router_ruleset(topology: Topology, site: str) -> str:
    """The packet filter of a site's router, between its zones, the other site and outside.

    :param topology: the environment's topology.
    :param site: name of the site.
    :returns: text for ``nft -f``; a packet whose source does not belong to the interface it came by is dropped first,
        so that "from outside" can be judged by the address.
    """
    crossing = []
    for pair in topology.allowed():
        ends = [_place(topology, name) for name in (pair.source, pair.destination)]
        if ends[0] != ends[1] and site in {end[0] for end in ends if end}:
            crossing.append(pair)
    return _table(
        [
            *_chain(
                "prerouting",
                "prerouting",
                [
                    "meta nfproto ipv4 fib saddr . iif oif missing counter drop",
                    "meta nfproto ipv6 ip6 saddr != fe80::/10 ip6 saddr != :: fib saddr . iif oif missing counter drop",
                ],
                policy="accept",
            ),
            *_chain(
                "input",
                "input",
                [
                    'iif "lo" accept',
                    "ct state established,related accept",
                    f"icmpv6 type {_ICMP6_NEEDED} accept",
                    f"icmp type {_ICMP4_NEEDED} accept",
                    "counter drop",
                ],
            ),
            *_chain(
                "forward",
                "forward",
                [
                    "ct state established,related accept",
                    "ct state invalid drop",
                    _NO_SESSION,
                    "icmpv6 type { packet-too-big, destination-unreachable, time-exceeded, parameter-problem } accept",
                    f"icmp type {_ICMP4_NEEDED} accept",
                    *_rules(_grouped(crossing), sources=True, destinations=True, inside=topology.inside),
                    "counter drop",
                ],
            ),
        ]
    )


def _place(topology: Topology, name: str) -> tuple[str, str] | None:
    return next(((node.site, node.zone) for node in topology.nodes if node.name == name), None)


@dataclass
class _Group:
    """All pairs of one flow and port: every source with every destination."""

    flow_id: str
    protocol: str
    port: int
    sources: dict[Network, None]
    destinations: dict[Network, None]


def _grouped(pairs: Iterable[AllowedFlow]) -> list[_Group]:
    groups: dict[tuple[str, str, int], _Group] = {}
    for pair in pairs:
        group = groups.setdefault(
            (pair.id, pair.protocol, pair.port), _Group(pair.id, pair.protocol, pair.port, {}, {})
        )
        group.sources.update(dict.fromkeys(pair.source_networks))
        group.destinations.update(dict.fromkeys(pair.destination_networks))
    return list(groups.values())


def _rules(
    groups: Iterable[_Group], *, sources: bool = False, destinations: bool = False, inside: tuple[Network, ...] = ()
) -> Iterator[str]:
    """One accepting rule for each group and address family that both ends have."""
    for group in groups:
        for family, kind in _FAMILIES:
            ends = (group.sources, group.destinations)
            own = [[network for network in end if isinstance(network, kind)] for end in ends]
            if not all(own):
                continue
            matches = [
                *([_match(family, "saddr", own[0], [n for n in inside if isinstance(n, kind)])] if sources else []),
                *([_match(family, "daddr", own[1], [])] if destinations else []),
            ]
            text = " ".join(match for match in matches if match) or f"meta nfproto ipv{family.removeprefix('ip') or 4}"
            yield f'{text} {group.protocol} dport {group.port} ct state new accept comment "{group.flow_id}"'


_FAMILIES: tuple[tuple[str, type], ...] = (("ip", IPv4Network), ("ip6", IPv6Network))


def _match(family: str, side: str, networks: Sequence[Network], inside: Sequence[Network]) -> str:
    """A match on one side; the whole Internet is whatever is not inside, or no match where inside is not given."""
    if not any(network in ANYWHERE for network in networks):
        return f"{family} {side} {{ {', '.join(map(_shown, networks))} }}"
    return f"{family} {side} != {{ {', '.join(map(_shown, inside))} }}" if inside else ""


def _shown(network: Network) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _chain(name: str, hook: str, rules: list[str], policy: str = "drop") -> list[str]:
    return [
        f"  chain {name} {{",
        f"    type filter hook {hook} priority filter; policy {policy};",
        *(f"    {rule}" for rule in rules),
        "  }",
    ]


def _table(chains: list[str]) -> str:
    # Declaring the table first makes the delete succeed on the first load; all of it is one transaction.
    head = [
        "# Made by jinku from the environment's flows; edit environment.yaml instead.",
        f"table {TABLE}",
        f"delete table {TABLE}",
        f"table {TABLE} {{",
    ]
    return "\n".join([*head, *chains, "}", ""])
