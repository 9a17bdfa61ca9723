# SPDX-License-Identifier: Apache-2.0
"""The router of a site: a network namespace that forwards between the zones, the wan and the link to the other site.

Its legs are called as the zones are, and `wan` and `link`; so a packet filter may name them.
"""

import hashlib
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jinku import lab_network

from . import links, names, networks, outside
from .process import in_netns, ip, run

SYSCTL = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv6.conf.default.accept_dad=0",  # addresses are ours alone; waiting a second for a clash helps nobody
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv4.conf.all.accept_redirects=0",
    "net.ipv4.conf.all.send_redirects=0",
)


@dataclass(frozen=True)
class Leg:
    """An address of the router in a zone, with the length of the network: `10.77.0.1/27`; address6 may be ""."""

    zone: str
    address: str
    address6: str = ""


@dataclass(frozen=True)
class Route:
    """A network that lies behind another router: `to` 10.77.1.0/24 `via` 172.29.78.2. Either family."""

    to: str
    via: str


@dataclass(frozen=True)
class Router:
    """All a router is told. Addresses carry the length of their network; address6 and link may be ""."""

    env: str
    site: str
    wan_address: str
    zones: tuple[Leg, ...]
    ruleset: str
    wan_address6: str = ""
    link_address: str = ""
    link_address6: str = ""
    routes: tuple[Route, ...] = ()

    @property
    def netns(self) -> str:
        """Its namespace."""
        return names.router(self.env, self.site)

    def ports(self) -> list[links.Port]:
        """Its cables: one into each zone's bridge, one into the wan, one into the link if it has that."""
        switch, out = names.switch(self.env, self.site), names.outside(self.env)
        ports = []
        for leg in self.zones:
            bridge = lab_network.interface(leg.zone)
            ports.append(links.Port(switch, bridge, lab_network.interface(f"{leg.zone}.ROUTER"), self.netns, bridge))
        for bridge, address in (("wan", self.wan_address), ("link", self.link_address)):
            if address:
                ports.append(
                    links.Port(out, bridge, lab_network.interface(f"{bridge}.{self.site}"), self.netns, bridge)
                )
        return ports

    def legs(self) -> list[Leg]:
        """All its legs: into the zones, the wan and the link."""
        wan, link = Leg("wan", self.wan_address, self.wan_address6), Leg("link", self.link_address, self.link_address6)
        return [*self.zones, wan, link]

    def addresses(self) -> set[tuple[str, str]]:
        """(interface, address with length) of every address it is to have."""
        return {
            (lab_network.interface(leg.zone), ipaddress.ip_interface(address).with_prefixlen)
            for leg in self.legs()
            for address in (leg.address, leg.address6)
            if address
        }

    def configuration(self) -> list[str]:
        """`ip` commands for its addresses and routes, in an order that works; each replaces what is there."""
        lines = []
        for leg in self.legs():
            device = lab_network.interface(leg.zone)
            if leg.address:
                lines.append(f"addr replace {leg.address} dev {device}")
            if leg.address6:
                lines.append(f"addr replace {leg.address6} dev {device} nodad")
        return lines + [f"route replace {route.to} via {route.via}" for route in self.routes]

    def back(self) -> list[str]:
        """`ip` commands that let the controller reach the zones through this router."""
        lines = []
        for leg in self.zones:
            for address, via in ((leg.address, self.wan_address), (leg.address6, self.wan_address6)):
                if address and via:
                    network = ipaddress.ip_interface(address).network
                    lines.append(f"route replace {network} via {ipaddress.ip_interface(via).ip}")
        return lines


def networks_of(router: Router) -> list[str]:
    """Networks that the controller will reach through the lab: the wan and the zones, both families."""
    addresses = [router.wan_address, router.wan_address6]
    addresses += [address for leg in router.zones for address in (leg.address, leg.address6)]
    return [str(ipaddress.ip_interface(address).network) for address in addresses if address]


async def ensure(router: Router) -> None:
    """Make the router or mend it: namespace, legs, addresses, routes, then its packet filter, loaded as one transaction."""
    own = lab_network.controller_interface(router.env)
    await links.refuse_taken(networks_of(router), own)
    await outside.ensure(router.env, router.wan_address, router.wan_address6)
    for leg in router.zones:
        await networks.ensure(router.env, router.site, leg.zone)
    await links.ensure_netns(router.netns, SYSCTL)
    for port in router.ports():
        await links.ensure_port(port)
    await load(router)  # before the addresses: nothing passes unfiltered
    stale = {one for one in await addresses(router) if one not in router.addresses()}
    await ip(router.netns, [f"addr del {address} dev {device}" for device, address in sorted(stale)])
    await ip(router.netns, router.configuration())
    await ip(None, router.back())


async def addresses(router: Router) -> set[tuple[str, str]]:
    """(interface, address with length) of all that its legs really have."""
    told = json.loads(await run("ip", "-n", router.netns, "-json", "addr", "show", "scope", "global"))
    return {
        (link["ifname"], f"{one['local']}/{one['prefixlen']}")
        for link in told
        for one in link.get("addr_info", ())  # what the filter leaves out is told as {}
        if "local" in one and link["ifname"] != "lo"
    }


async def routes(netns: str | None) -> set[tuple[str, str]]:
    """(network, gateway) of every route through a gateway, in a namespace or (None) the controller's own."""
    where = ["-n", netns] if netns else []
    told = [json.loads(await run("ip", *where, family, "-json", "route") or "[]") for family in ("-4", "-6")]
    return {(route["dst"], route["gateway"]) for family in told for route in family if "gateway" in route}


async def load(router: Router) -> None:
    """Load the packet filter, which replaces its own table in one transaction: an error changes nothing."""
    await in_netns(router.netns, "nft", "-f", "-", stdin=router.ruleset)
    record(router).parent.mkdir(parents=True, exist_ok=True)
    record(router).write_text(await loaded(router))


async def loaded(router: Router) -> str:
    """SHA-256 of the packet filter that is in force, without its counters."""
    listed = await in_netns(router.netns, "nft", "--stateless", "list", "ruleset")
    return hashlib.sha256(listed.encode()).hexdigest()


def record(router: Router) -> Path:
    """File that remembers what `loaded` was after the last load, so that a change by hand is seen."""
    return names.lab_directory(router.env) / "routers" / f"{router.site}.sha256"


async def inspect(router: Router) -> Literal["absent", "broken", "running"]:
    """`absent` without a namespace; `broken` if a leg, an address, a route, the packet filter, the mirror or forwarding is not as it should be."""
    if not links.alive(router.netns):
        return "absent"
    for port in router.ports():
        if not await links.connected(port):
            return "broken"
    if not record(router).exists() or record(router).read_text() != await loaded(router):
        return "broken"
    if await addresses(router) != router.addresses() or not await routed(router):
        return "broken"
    forwards = await in_netns(router.netns, "sysctl", "--values", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    if forwards.split() != ["1", "1"] or not await outside.whole(router.env):
        return "broken"
    return "running"


async def routed(router: Router) -> bool:
    """True if the router knows the way to the other sites, and the controller the way to the zones."""
    for netns, lines in ((router.netns, router.configuration()), (None, router.back())):
        words = [line.split() for line in lines if line.startswith("route ")]
        if not {(str(ipaddress.ip_network(line[2])), line[4]) for line in words} <= await routes(netns):
            return False
    return True


async def remove(router: Router) -> None:
    """Remove the router; the wan, the link and the mirror go with the last one."""
    for line in router.back():
        await run("ip", *line.replace(" replace ", " del ").split(), check=False)
    for port in router.ports():
        await links.remove_port(port)
    await links.remove_netns(router.netns)
    record(router).unlink(missing_ok=True)
    await outside.remove_if_unused(router.env)
