# SPDX-License-Identifier: Apache-2.0
"""Hand-written rules that guard every environment, whatever the operator adds (DESIGN.md, decision 2)."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

from jinku.model.environment import Environment
from jinku.model.profiles import TIER_ZONE, VOLUMES, specs
from jinku.model.topology import (
    ACME,
    HOSTS,
    INTERNET,
    MIRROR,
    OPERATORS,
    SERVICES,
    TIME,
    AllowedFlow,
    Network,
    Node,
    Topology,
)

_DATA_MAY_REACH = {"vault", "log", "sessions", "ntp", "mirror", "ups"}
_SMALLEST_ZONE = 29


class _Rules(NamedTuple):
    """Rules that are looked at together, and the sections that they rely on: those that they read, and those without which they cannot."""

    find: Callable[[Environment], Iterable[str]]
    needs: frozenset[str]


def problems(env: Environment, *, unknown: Collection[str] = (), ends_known: bool = True) -> list[str]:
    """All that is wrong with an environment whose fields are well-formed.

    :param env: an environment that the model accepted.
    :param unknown: sections that are not what their owner wrote, for that was malformed; rules that need one of them are left out.
    :param ends_known: False where a flow's ends or port are not what its owner wrote; flows are not held against the rules then.
    :returns: lines ``<field>: <what is wrong>; <what would be right>``, empty when it is fine. Problems of flows are
        looked for only when the places are in order, because flows speak of places.
    """
    found: list[str] = []
    for step in _STEPS:
        for rules in step:
            if rules.needs.isdisjoint(unknown) and (ends_known or rules.find is not _flows):
                found += rules.find(env)
        if found:
            break
    return found


def _sites(env: Environment) -> Iterator[str]:
    if "a" not in env.sites:
        yield "sites: has no site 'a'; the primary site is called a"
    if unknown := set(env.sites) - {"a", "b"}:
        yield f"sites: {', '.join(sorted(unknown))} is not a site's name here; a (primary) and b (disaster recovery)"
    for name, site in env.sites.items():
        if site.network.prefixlen > 32 - 3 - (32 - _SMALLEST_ZONE):
            yield f"sites.{name}.network: {site.network} is too small for eight zones of a /29; a /26 or larger, /24 is usual"
        if site.network6 is not None and site.network6.prefixlen > 61:
            yield f"sites.{name}.network6: {site.network6} is too small for eight zones of a /64; a /61 or larger, /56 is usual"


def _people(env: Environment) -> Iterator[str]:
    present = [operator for operator in env.operators if operator.state == "present"]
    for duty in ("system", "audit", "security"):
        if not any(operator.duty == duty for operator in present):
            yield f"operators: nobody has the duty '{duty}'; at least one present operator for each of system, audit, security"
    for name, count in Counter(operator.name for operator in env.operators).items():
        if count > 1:
            yield f"operators: {name!r} is listed {count} times; one person, one entry, one duty"
        if name in {"root", "automation", "postgres", "tryton", "openbao", "daemon", "nobody", "admin", "www-data"}:
            yield f"operators: {name!r} is the name of a service or shared account; the name of a person"
    keys = Counter(" ".join(key.split()[:2]) for operator in present for key in operator.keys)
    if any(count > 1 for count in keys.values()):
        yield "operators: one key is given to two people; a key of their own for each"
    for index, operator in enumerate(env.operators if env.backend != "lab" else ()):
        if operator.state == "present" and not operator.keys:
            yield f"operators.{index}.keys: {operator.name!r} has no key; at least one OpenSSH public key"


def _laboratory(env: Environment) -> Iterator[str]:
    if env.backend != "lab":
        for place in ("operators", "mirror", "time"):
            if not getattr(env.outside, place):
                yield f"outside.{place}: is missing; its addresses (only the backend lab has defaults)"
    elif not env.disposable:
        yield "disposable: is false with the backend lab, which is a laboratory; true"


def _vault(env: Environment) -> Iterator[str]:
    if env.vault.seal == "static" and not env.disposable:
        yield "vault.seal: is 'static', a key beside the data that it protects, and the environment is not disposable; 'shamir'"


def _names(env: Environment) -> Iterator[str]:
    names = Counter(spec.name for spec in specs(env))
    for name, count in names.items():
        if count > 1:
            yield f"nodes: {name!r} is the name of {count} nodes; a name of its own for each"
    outside = {INTERNET, OPERATORS, MIRROR, TIME, ACME, HOSTS, *env.outside.others}
    for name in sorted(names.keys() & (outside | TIER_ZONE.keys())):
        yield f"nodes: {name!r} is also the name of a tier or a place outside; another name"
    for name in env.outside.others:
        if name in {INTERNET, OPERATORS, MIRROR, TIME, ACME, HOSTS, *TIER_ZONE}:
            yield f"outside.others.{name}: is a name with a meaning of its own; another name"
    for index, node in enumerate(env.nodes):
        if node.site not in env.sites:
            yield f"nodes.{index}.site: there is no site {node.site!r}; one of {', '.join(sorted(env.sites))}"
        for tier in node.tiers:
            if TIER_ZONE[tier] != node.zone:
                yield f"nodes.{index}.tiers: the tier {tier} lives in the zone {TIER_ZONE[tier]}; not in {node.zone}"
    for name in env.addresses:
        if name not in names:
            yield f"addresses.{name}: there is no such node; one of {', '.join(sorted(names))}"


def _existing(env: Environment) -> Iterator[str]:
    volumes = sorted(
        f"{spec.name}-{kind}" for spec in specs(env) for tier in spec.tiers for kind, *_ in VOLUMES.get(tier, ())
    )
    for name in env.existing.disks:
        if name not in volumes:
            yield f"existing.disks.{name}: there is no such volume; one of {', '.join(volumes)}"
    if env.existing.user == "automation":
        yield "existing.user: 'automation' is the account that Jinku makes for itself; the owner's own account, or root"


def _acme(env: Environment) -> Iterator[str]:
    directory = Topology(env).acme
    if directory is None:
        if env.outside.acme:
            yield "outside.acme: is given, but edge.certificate is not 'acme'; both or neither"
        return
    if env.backend != "lab" and not env.outside.acme:
        yield f"outside.acme: is missing; the addresses of {directory[0]} (only the backend lab has defaults)"
    if count := sum("edge" in spec.tiers for spec in specs(env)) - 1:
        yield f"edge.certificate: is 'acme' with {count + 1} edges, of which the authority would ask any; 'files', or one edge"


def _networks_of_lab(env: Environment) -> list[tuple[str, Network]]:
    lab = env.lab
    named: list[tuple[str, Network]] = [("lab.wan", lab.wan), ("lab.wan6", lab.wan6)]
    named += [("lab.link", lab.link), ("lab.link6", lab.link6)]
    return named if env.backend == "lab" else []


def _all_networks(env: Environment) -> Iterator[tuple[str, Network]]:
    """Networks of all zones and of the lab, each with the field that it comes from."""
    for (site, zone), networks in Topology(env).zones.items():
        field = f"sites.{site}.zones.{zone}" if zone in env.sites[site].zones else f"sites.{site}.network"
        yield field, networks.network
        if networks.network6 is not None:
            yield field, networks.network6
    yield from _networks_of_lab(env)


def _networks(env: Environment) -> Iterator[str]:
    """What holds for single networks: routers and hosts are numbered in them without another look."""
    for name, site in env.sites.items():
        for zone, own in site.zones.items():
            field = f"sites.{name}.zones.{zone}"
            if own.network.prefixlen > _SMALLEST_ZONE:
                yield f"{field}.network: {own.network} is too small; a /{_SMALLEST_ZONE} or larger"
            if own.network6 is not None and own.network6.prefixlen != 64:
                yield f"{field}.network6: {own.network6} is not a /64; a /64"
    for field, network in _networks_of_lab(env):
        smallest = _SMALLEST_ZONE + network.max_prefixlen - 32
        if network.prefixlen > smallest:
            yield f"{field}: {network} is too small for the controller and the routers; a /{smallest} or larger"
    unusable: dict[tuple[str, int], Network] = {}
    for field, network in _all_networks(env):
        if network.is_loopback or network.is_multicast or network.is_link_local or network.is_reserved:
            unusable.setdefault((field, network.version), network)  # of a site's zones the first is enough
    for (field, _), network in unusable.items():
        yield f"{field}: {network} is a loopback, multicast, link-local or reserved network; a private network"


def _apart(env: Environment) -> Iterator[str]:
    seen: set[tuple[str, str]] = set()
    for (field, network), (other_field, other) in combinations(_all_networks(env), 2):
        if network.version == other.version and network.overlaps(other) and (field, other_field) not in seen:
            seen.add((field, other_field))
            yield f"{field}: {network} overlaps {other} of {other_field}; networks that share no address"


def _addresses(env: Environment) -> Iterator[str]:
    topology = Topology(env)
    taken: dict[object, str] = {}
    for node in topology.nodes:
        zone = topology.zones[node.site, node.zone]
        for address, network, gateway in (
            (node.address, zone.network, zone.gateway),
            (node.address6, zone.network6, zone.gateway6),
        ):
            if address is None:
                continue
            field = f"addresses.{node.name}" if node.name in env.addresses else f"nodes ({node.name})"
            if network is None or gateway is None:
                yield f"{field}: {address} needs a zone with IPv6, and {node.zone} of site {node.site} has none; no IPv6 address, or `network6` of the site"
                continue
            edges = {network.network_address, gateway} | ({network[-1]} if address.version == 4 else set())
            if address not in network or address in edges:
                yield f"{field}: {address} is not a host's address in {network} of zone {node.zone}; a larger zone network or another number"
            elif address in taken:
                yield f"{field}: {address} is already {taken[address]}'s; an address of its own"
            taken.setdefault(address, node.name)


def _room(env: Environment) -> Iterator[str]:
    """Devices stand in a zone facility or outside; a place has one point of a quantity, or two would be one series."""
    topology = Topology(env)
    taken = {address: node.name for node in topology.nodes for address in node.addresses}
    for name, device in env.room.devices.items():
        field = f"room.devices.{name}"
        zones = [networks.zone for networks in topology.zones.values() if device.address in networks.network]
        if device.address in taken:
            yield f"{field}.address: {device.address} is {taken[device.address]}'s; the device's own address"
        elif zones and zones[0] != "facility":
            yield f"{field}.address: {device.address} lies in the zone {zones[0]}; an address in the zone facility, or outside of the sites"
        for (quantity, place), count in Counter((point.quantity, point.place) for point in device.points).items():
            if count > 1:
                yield f"{field}.points: {quantity} at {place} is written {count} times; a place of its own for each"
    for site, ups in env.room.ups.items():
        field = f"room.ups.{site}"
        if site not in topology.sites:
            yield f"{field}: there is no site {site!r}; one of {', '.join(topology.sites)}"
        if ups.address in taken:
            yield f"{field}.address: {ups.address} is {taken[ups.address]}'s; the address of the machine beside the UPS"
        elif any(
            ups.address in networks.network for networks in topology.zones.values() if networks.zone != "facility"
        ):
            yield f"{field}.address: {ups.address} lies in a zone of hosts; an address in the zone facility, or outside of the sites"
    if env.room.devices and not topology.nodes_of("monitor"):
        yield "room.devices: nobody reads them, for no node has the tier monitor; a node with it"


def _flow_ends(env: Environment) -> Iterator[str]:
    topology = Topology(env)
    for index, flow in enumerate(env.flows):
        for end, name in (("source", flow.source), ("destination", flow.destination)):
            if name not in topology.outside and not topology.nodes_of(name):
                known = sorted({*topology.outside, *(node.name for node in topology.nodes), *TIER_ZONE, HOSTS})
                yield f"flows.{index}.{end}: {name!r} is no tier, node or place outside; one of {', '.join(known)}"
        if flow.destination == INTERNET:
            yield f"flows.{index}.destination: 'internet' would open the whole Internet; a name under outside.others with its addresses"
        if flow.source in topology.outside and flow.destination in topology.outside:
            yield f"flows.{index}: neither end is a node; a flow that begins or ends at a node"
    for name in (OPERATORS, MIRROR, TIME, *({ACME} & topology.outside.keys()), *env.outside.others):
        field = f"outside.others.{name}" if name in env.outside.others else f"outside.{name}"
        for network in topology.outside[name]:
            # by its address, a host inside could pass for somebody outside: for an operator at the bastion, for one
            if any(network.version == inside.version and network.overlaps(inside) for inside in topology.inside):
                yield f"{field}: {network} overlaps the environment's own networks; addresses outside of it"
    for place in (OPERATORS, *env.outside.others):
        for network in topology.outside[place]:
            if network.prefixlen < (8 if network.version == 4 else 32):
                yield f"outside.{place}: {network} is most of the Internet; the networks that are meant"


def _flows(env: Environment) -> Iterator[str]:
    topology = Topology(env)
    pairs = topology.allowed()
    yield from dict.fromkeys(line for pair in pairs for line in _broken_rules(topology, pair))
    for flow_id, count in Counter(flow.id for flow in topology.flows).items():
        if count > 1:
            yield f"flows: {flow_id!r} is written {count} times; each flow once"


def _broken_rules(topology: Topology, pair: AllowedFlow) -> Iterable[str]:
    source = _node(topology, pair.source)
    destination = _node(topology, pair.destination)
    tiers = destination.tiers if destination else ()
    where = f"flows ({pair.id})"
    at_edge = "edge" in tiers and (pair.protocol, pair.port) in {("tcp", 443), ("tcp", 80)}
    at_bastion = "bastion" in tiers and (pair.protocol, pair.port) == ("tcp", SERVICES["ssh"].port)
    if source is None and pair.source == OPERATORS and not (at_bastion or at_edge):
        yield f"{where}: lets operators reach {pair.destination}:{pair.port}; operators reach the bastion's SSH only"
    if source is None and pair.source != OPERATORS and not at_edge:
        yield f"{where}: lets {pair.source} reach {pair.destination}:{pair.port}; from outside only edge:443 and edge:80 are reached"
    if destination and pair.port == SERVICES["ssh"].port and source and "bastion" not in source.tiers:
        yield f"{where}: lets {pair.source} open SSH inside; only the bastion does"
    if source and source.zone == "data" and not _data_zone_may(topology, pair):
        yield f"{where}: lets the data zone reach {pair.destination}:{pair.port}; only vault, log, time, packages and its peer at the other site"
    if source and source.zone == "dmz" and destination and destination.zone == "data":
        yield f"{where}: lets the dmz reach the data zone; only through the app zone"


def _data_zone_may(topology: Topology, pair: AllowedFlow) -> bool:
    source, destination = topology.node(pair.source), _node(topology, pair.destination)
    if pair.id.split(">")[1] in _DATA_MAY_REACH:
        return True
    return (
        destination is not None
        and destination.zone == "data"
        and (destination.site != source.site or bool(set(destination.tiers) & set(source.tiers)))
    )


def _node(topology: Topology, name: str) -> Node | None:
    return next((node for node in topology.nodes if node.name == name), None)


#: What names and places need; no rule depends on `domain`, which is a part of names.
_NODES = frozenset({"profile", "backend", "sites", "nodes"})
_PLACES = _NODES | {"outside", "addresses", "existing", "lab"}
_ENDS = _PLACES | {"edge", "room", "alerts", "flows"}

#: Whoever breaks a rule of one step is not told of the next, which takes the earlier ones for kept.
_STEPS: tuple[tuple[_Rules, ...], ...] = (
    (
        _Rules(_sites, frozenset({"sites"})),
        _Rules(_people, frozenset({"operators", "backend"})),
        _Rules(_laboratory, frozenset({"backend", "outside", "disposable"})),
        _Rules(_vault, frozenset({"vault", "disposable"})),
        _Rules(_names, _NODES | {"outside", "addresses"}),
        _Rules(_existing, _NODES | {"existing"}),
        _Rules(_acme, _NODES | {"edge", "outside"}),
    ),
    (_Rules(_networks, frozenset({"sites", "lab", "backend"})),),
    (_Rules(_apart, frozenset({"sites", "lab", "backend"})), _Rules(_addresses, _PLACES)),
    (_Rules(_room, _PLACES | {"room"}), _Rules(_flow_ends, _ENDS), _Rules(_flows, _ENDS)),
)
