# SPDX-License-Identifier: Apache-2.0
"""The lab's networks as this machine sees them: the interface that leads to them, and whoever uses the same ones already. Pure.

`jinku doctor` asks before anything is made, the provider once more while it makes. Nothing but the standard library: what
clears a machine runs without our packages.
"""

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping

INTERFACE_MAX = 15  # IFNAMSIZ - 1


def interface(wish: str) -> str:
    """An interface's name within the kernel's 15 characters: the wish itself, or its beginning and a hash."""
    if len(wish) <= INTERFACE_MAX:
        return wish
    return f"{wish[:8]}-{hashlib.sha256(wish.encode()).hexdigest()[:6]}"


def controller_interface(env: str) -> str:
    """The one interface that the lab puts into the controller's own namespace."""
    return interface(f"jk-{env}-wan")


def taken(wanted: Iterable[str], routes: Iterable[Mapping[str, str]], own: str) -> list[tuple[str, str, str]]:
    """(network, route, interface) for every wanted network that the machine has a use for already.

    routes: as `ip -json route` tells them. own: the lab's interface, whose routes are ours. A wider route through a gateway
    is no clash: the narrower one wins for our addresses only. A wider network that is on the wire is one.
    """
    networks = [ipaddress.ip_network(network) for network in wanted]
    found = []
    for route in routes:
        if route.get("dev", "") == own or route["dst"] in ("default", "multicast") or route["dst"].startswith("fe80:"):
            continue
        there = ipaddress.ip_network(route["dst"], strict=False)
        for network in networks:
            inside = there.version == network.version and there.overlaps(network)
            if inside and (there.prefixlen >= network.prefixlen or "gateway" not in route):
                found.append((str(network), str(there), route.get("dev", "")))
    return found
