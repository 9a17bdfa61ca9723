# SPDX-License-Identifier: Apache-2.0
"""The router of a site: a network namespace that forwards between the zones, the wan and the link to the other site.

Its legs are called as the zones are, and `wan` and `link`; so a packet filter may name them.
"""

import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
            bridge = names.interface(leg.zone)
            ports.append(links.Port(switch, bridge, names.interface(f"{leg.zone}.ROUTER"), self.netns, bridge))
        for bridge, address in (("wan", self.wan_address), ("link", self.link_address)):
            if address:
                ports.append(links.Port(out, bridge, names.interface(f"{bridge}.{self.site}"), self.netns, bridge))
        return ports

    def configuration(self) -> list[str]:
        """`ip` commands for its addresses and routes, in an order that works; each replaces what is there."""
        legs = [
            *self.zones,
            Leg("wan", self.wan_address, self.wan_address6),
            Leg("link", self.link_address, self.link_address6),
        ]
        lines = []
        for leg in legs:
            device = names.interface(leg.zone)
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
    own = names.controller_interface(router.env)
    await links.refuse_taken(networks_of(router), own)
    await outside.ensure(router.env, router.wan_address, router.wan_address6)
    for leg in router.zones:
        await networks.ensure(router.env, router.site, leg.zone)
    await links.ensure_netns(router.netns, SYSCTL)
    for port in router.ports():
        await links.ensure_port(port)
    await load(router)  # before the addresses: nothing passes unfiltered
    await ip(router.netns, router.configuration())
    await ip(None, router.back())


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
    """`absent` without a namespace; `broken` if a leg, the packet filter, the mirror or forwarding is not as it should be."""
    if not links.alive(router.netns):
        return "absent"
    for port in router.ports():
        if not await links.connected(port):
            return "broken"
    if not record(router).exists() or record(router).read_text() != await loaded(router):
        return "broken"
    forwards = await in_netns(router.netns, "sysctl", "--values", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    if forwards.split() != ["1", "1"] or not await outside.whole(router.env):
        return "broken"
    return "running"


async def remove(router: Router) -> None:
    """Remove the router; the wan, the link and the mirror go with the last one."""
    for line in router.back():
        await run("ip", *line.replace(" replace ", " del ").split(), check=False)
    for port in router.ports():
        await links.remove_port(port)
    await links.remove_netns(router.netns)
    record(router).unlink(missing_ok=True)
    await outside.remove_if_unused(router.env)
