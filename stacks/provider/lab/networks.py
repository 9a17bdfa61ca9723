# SPDX-License-Identifier: Apache-2.0
"""One zone of one site: a bridge in the site's switch namespace."""

from dataclasses import dataclass

from jinku import lab_network

from . import links, names
from .process import locked


@dataclass(frozen=True)
class Network:
    """A zone of a site. network, network6: its addresses, for people; network6 may be ""."""

    env: str
    site: str
    zone: str
    network: str
    network6: str = ""


async def ensure(env: str, site: str, zone: str) -> None:
    """Make the bridge of a zone."""
    async with locked(names.lab_directory(env) / f"{site}.switch.lock"):
        await links.ensure_bridge(names.switch(env, site), lab_network.interface(zone))


async def present(env: str, site: str, zone: str) -> bool:
    """True if the bridge of a zone is there."""
    return lab_network.interface(zone) in await links.links(names.switch(env, site))


async def remove(env: str, site: str, zone: str) -> None:
    """Remove the bridge of a zone; the switch namespace goes with its last bridge."""
    async with locked(names.lab_directory(env) / f"{site}.switch.lock"):
        await links.remove_bridge(names.switch(env, site), lab_network.interface(zone))
