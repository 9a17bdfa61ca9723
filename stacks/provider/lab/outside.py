# SPDX-License-Identifier: Apache-2.0
"""What lies outside the sites: the wan with the controller, the package mirror and the receiver of alarms, the link between sites, and strangers for probes.

The bridges lie in a namespace of their own; the controller's own namespace sees one interface and the routes to the sites.
"""

import ipaddress

from jinku import lab_network

from . import links, mirror, names, receiver
from .process import ip, locked

BRIDGES = ("wan", "link")


def controller_port(env: str) -> links.Port:
    """The cable between the controller and the wan."""
    return links.Port(names.outside(env), "wan", "controller", None, lab_network.controller_interface(env))


def controller_address(router_address: str) -> str:
    """The controller's address on the wan: the first of the network that the router's address (`172.29.77.2/24`) lies in."""
    network = ipaddress.ip_interface(router_address).network
    return f"{network.network_address + 1}/{network.prefixlen}"


async def ensure(env: str, wan_address: str, wan_address6: str = "") -> None:
    """Make the wan, the link, the controller's leg, the mirror and the receiver of alarms on it. Addresses are those of any router on the wan."""
    async with locked(names.lab_directory(env) / "outside.lock"):
        for bridge in BRIDGES:
            await links.ensure_bridge(names.outside(env), bridge)
        port = controller_port(env)
        await links.ensure_port(port)
        address = controller_address(wan_address)
        lines = [f"addr replace {address} dev {port.far}"]
        if wan_address6:
            lines.append(f"addr replace {controller_address(wan_address6)} dev {port.far} nodad")
        await ip(None, lines)
        await mirror.ensure(env, str(ipaddress.ip_interface(address).ip))
        await receiver.ensure(env, str(ipaddress.ip_interface(address).ip))


async def whole(env: str) -> bool:
    """True if the controller's leg, the mirror and the receiver are there."""
    return await links.connected(controller_port(env)) and mirror.DAEMON.running(env) and receiver.DAEMON.running(env)


async def remove_if_unused(env: str) -> None:
    """Remove wan, link and mirror if no router is left."""
    async with locked(names.lab_directory(env) / "outside.lock"):
        if any(path.name.endswith(".ROUTER") for path in links.NETNS.glob(f"{names.prefix(env)}*")):
            return
        await remove(env)


async def remove(env: str) -> None:
    """Remove wan, link, mirror, receiver and strangers."""
    await mirror.DAEMON.remove(env)
    await receiver.DAEMON.remove(env)
    await links.remove_port(controller_port(env))
    for path in links.NETNS.glob(f"{names.prefix(env)}PROBE.*"):
        await links.remove_netns(path.name)
    await links.remove_netns(names.outside(env))


async def ensure_stranger(env: str, name: str, address: str, address6: str = "", routes: tuple[str, ...] = ()) -> str:
    """Make a network namespace on the wan, from which probes ask what the internet would ask, and return its name.

    address, address6: with length, on the wan. routes: `10.77.0.0/24 via 172.29.77.2` and the like. Removed with the wan.
    """
    netns = names.probe(env, name)
    await links.ensure_netns(netns, ["net.ipv6.conf.default.accept_dad=0"])
    await links.ensure_port(
        links.Port(names.outside(env), "wan", lab_network.interface(f"probe.{name}"), netns, "eth0")
    )
    lines = [f"addr replace {address} dev eth0"]
    if address6:
        lines.append(f"addr replace {address6} dev eth0 nodad")
    await ip(netns, lines + [f"route replace {route}" for route in routes])
    return netns
