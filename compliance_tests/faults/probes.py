# SPDX-License-Identifier: Apache-2.0
"""Strangers in the lab: a network namespace beside the nodes of each zone, and one outside, none of them filtered.

Names derive from the inventory and the lab's naming (``jinku-<env>.PROBE.*``, which `destroy` sweeps). Root only.
"""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Self

from filelock import FileLock

from jinku.evidence.channel import far_end
from jinku.model import Topology
from jinku.places import Places

LISTEN = Path(__file__).resolve().parent.parent / "asked" / "listen.py"
OUTSIDE = "outside"
_FIRST_ROUTER = 2  # host number of site a's router on the wan; the controller is 1
_OUTSIDE_NUMBER = 66
WAIT_SECONDS = 60  # for another check of the same lab


def inside_namespace(netns: str) -> list[str]:
    """Command line of a channel whose far end runs in the namespace ``netns`` of this machine."""
    return ["nsenter", f"--net=/run/netns/{netns}", "sh", "-c", far_end(sudo=False)]


def router_namespace(topology: Topology, site: str) -> str:
    """Namespace of a site's router in the lab."""
    return f"jinku-{topology.env.name}.{site}.ROUTER"


def _hardware(name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return ":".join(["02", *(digest[place : place + 2] for place in range(0, 10, 2))])


@dataclass(frozen=True)
class Stranger:
    """One probe. ``key``: ``outside`` or ``<site>-<zone>``; ``foreign``: an address of another zone that it also claims."""

    key: str
    netns: str
    address: IPv4Address
    address6: IPv6Address | None
    foreign: IPv4Address | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its true addresses, IPv4 first."""
        return tuple(str(one) for one in (self.address, self.address6) if one is not None)


def possible(topology: Topology) -> str:
    """Why there can be no strangers here; empty if there can."""
    if topology.env.backend != "lab":
        return "needs a probe in each zone, which only the backend lab can make; have the network team place them (probes.yaml)"
    if os.geteuid() != 0:
        return "needs root on the lab's machine"
    return ""


class Strangers:
    """All probes of the lab, made at entry and removed at exit, with a listener on every port in ``ports``."""

    def __init__(self, topology: Topology, ports: tuple[int, ...]) -> None:
        self._topology = topology
        self._ports = ports
        self._listeners: list[subprocess.Popen[str]] = []
        self._lock = FileLock(Places(topology.env.name).state / "probes.lock", timeout=WAIT_SECONDS)
        self.all: dict[str, Stranger] = {}

    def __enter__(self) -> Self:
        """Make them; what is half made is removed again. Two checks of one lab do so one after the other."""
        self._lock.acquire()
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def argv(self, key: str) -> list[str]:
        """Command line of a channel whose far end runs in a probe."""
        return inside_namespace(self.all[key].netns)

    def _make(self) -> None:
        self._sweep()
        for site, zone in dict.fromkeys((node.site, node.zone) for node in self._topology.nodes):
            self._in_zone(site, zone)
        self._outside()
        for stranger in self.all.values():
            self._listeners.append(
                subprocess.Popen(
                    [
                        "nsenter",
                        f"--net=/run/netns/{stranger.netns}",
                        sys.executable,
                        "-I",
                        str(LISTEN),
                        *map(str, self._ports),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for listener in self._listeners:
            assert listener.stdout is not None  # a pipe, as asked for above
            if listener.stdout.readline() != "ready\n":
                raise RuntimeError("a probe's listener did not start")

    def __exit__(self, *_: object) -> None:
        """Remove them."""
        for listener in self._listeners:
            assert listener.stdin is not None
            listener.stdin.close()
            listener.wait(5)
        self._listeners.clear()
        self._sweep()
        self._lock.release()

    def _prefix(self) -> str:
        return f"jinku-{self._topology.env.name}.PROBE."

    def _sweep(self) -> None:
        for path in Path("/run/netns").glob(f"{self._prefix()}*"):
            subprocess.run(["ip", "netns", "del", path.name], check=False)

    def _in_zone(self, site: str, zone: str) -> None:
        networks = self._topology.zones[site, zone]  # type: ignore[index]  # zone is one of the topology's own
        other = self._topology.zones[site, "facility" if zone != "facility" else "app"]
        stranger = Stranger(
            f"{site}-{zone}",
            f"{self._prefix()}{site}-{zone}",
            networks.network[-3],
            networks.network6[0xFFFE] if networks.network6 else None,
            other.network[-3],
        )
        addresses = [f"{stranger.address}/{networks.network.prefixlen}", f"{stranger.foreign}/32"]
        routes = [f"default via {networks.gateway}"]
        if networks.network6:
            addresses.append(f"{stranger.address6}/{networks.network6.prefixlen}")
            routes.append(f"default via {networks.gateway6}")
        self._plug(stranger, f"jinku-{self._topology.env.name}.{site}.SWITCH", zone, f"p.{zone}", addresses, routes)

    def _outside(self) -> None:
        env = self._topology.env
        wan, wan6 = env.lab.wan, env.lab.wan6
        stranger = Stranger(OUTSIDE, f"{self._prefix()}{OUTSIDE}", wan[_OUTSIDE_NUMBER], wan6[_OUTSIDE_NUMBER])
        routes = []
        for number, site in enumerate(self._topology.sites):
            routes.append(f"{env.sites[site].network} via {wan[_FIRST_ROUTER + number]}")
            if env.sites[site].network6:
                routes.append(f"{env.sites[site].network6} via {wan6[_FIRST_ROUTER + number]}")
        addresses = [f"{stranger.address}/{wan.prefixlen}", f"{stranger.address6}/{wan6.prefixlen}"]
        self._plug(stranger, f"jinku-{env.name}.OUTSIDE", "wan", "p.outside", addresses, routes)

    def _plug(
        self, stranger: Stranger, switch: str, bridge: str, port: str, addresses: list[str], routes: list[str]
    ) -> None:
        """A namespace with one leg in ``bridge``; it takes no router's advice and answers no other address."""
        self.all[stranger.key] = stranger
        subprocess.run(["ip", "netns", "add", stranger.netns], check=True)
        own = [
            "link set lo up",
            "link set eth0 up",
            *(f"addr add {one} dev eth0{' nodad' if ':' in one else ''}" for one in addresses),
            *(f"route add {route} dev eth0" for route in routes),
        ]
        for netns, lines in (
            # Always the same hardware address: neighbours remember the one of the last session for a while.
            (
                switch,
                [
                    f"link add name {port} type veth peer name eth0 address {_hardware(stranger.netns)} netns {stranger.netns}",
                    f"link set dev {port} master {bridge} up",
                ],
            ),
            (stranger.netns, own),
        ):
            subprocess.run(["ip", "-n", netns, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)
