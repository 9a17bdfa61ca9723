# SPDX-License-Identifier: Apache-2.0
"""What a site and a node are given: networks of the zones, volumes of the hosts. Pure."""

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from jinku.model.environment import Environment, Tier, Zone
from jinku.model.profiles import VOLUMES


@dataclass(frozen=True)
class Volume:
    """Data that survives its host. ``name`` is unique in the environment; ``size_gib`` in GiB.

    ``device``: a whole disk that its owner gave it (LUKS2), '' for a file system (fscrypt); ``format``: the disk may be taken while it is empty.
    """

    name: str
    node: str
    mount: str
    size_gib: int
    device: str = ""
    format: bool = False


def volumes_of(env: Environment, node: str, tiers: tuple[Tier, ...]) -> tuple[Volume, ...]:
    """The volumes that a node's tiers bring, each with the disk that its owner gave it."""
    disks = env.existing.disks if env.backend == "existing" else {}
    volumes = (
        Volume(f"{node}-{kind}", node, mount, size) for tier in tiers for kind, mount, size in VOLUMES.get(tier, ())
    )
    return tuple(
        replace(one, device=disks[one.name].device, format=disks[one.name].format) if one.name in disks else one
        for one in volumes
    )


@dataclass(frozen=True)
class ZoneNetworks:
    """Networks and routers' addresses of a zone at a site; the 6-fields are None where the site has no IPv6."""

    site: str
    zone: Zone
    network: IPv4Network
    network6: IPv6Network | None

    @property
    def gateway(self) -> IPv4Address:
        """IPv4 address of the site's router in this zone."""
        return self.network[1]

    @property
    def gateway6(self) -> IPv6Address | None:
        """IPv6 address of the site's router in this zone."""
        return self.network6[1] if self.network6 else None
