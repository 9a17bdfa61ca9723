# SPDX-License-Identifier: Apache-2.0
"""When the power fails: which `upsd` tells a site's hosts of their UPS, and in which order they stop. Pure."""

from collections.abc import Iterable
from ipaddress import IPv4Address

from jinku.model.alarm_sections import Ups
from jinku.model.environment import Environment, Tier

#: Stages of an orderly stop: what others need stops after them, and a node waits for the last of its tiers. Nothing asks the edge, everything
#: asks the vault (the cold start goes the other way by itself, DESIGN.md, decision 10); what is said last must still be written down.
STOP_ORDER: tuple[tuple[Tier, ...], ...] = (
    ("edge",),
    ("crm",),
    ("bastion", "monitor", "backup", "witness"),
    ("postgres",),
    ("log",),
    ("vault",),
    ("room",),  # the lab's: it stands for the machine beside the UPS, which waits for all others
)


def stop_stage(tiers: Iterable[Tier]) -> int:
    """Number of the stage in which a node with these tiers stops, 0 the first; one with none stops with the first."""
    return max((stage for stage, names in enumerate(STOP_ORDER) for tier in tiers if tier in names), default=0)


def stop_after(env: Environment, tiers: Iterable[Tier]) -> int:
    """Seconds from the alarm of the UPS (it is on battery, which is low) until a node with these tiers powers itself off."""
    return stop_stage(tiers) * env.room.stop_step_seconds


def longest_stop(env: Environment, every: Iterable[Iterable[Tier]]) -> int:
    """Seconds until the last of a site's nodes has begun to power itself off."""
    return max((stop_after(env, tiers) for tiers in every), default=0)


def ups_of(env: Environment, simulated: IPv4Address | None, port: int, name: str) -> dict[str, Ups]:
    """The UPS of each site: what the environment says; else, where a node simulates them, one for each site; else none.

    ``simulated``: that node's address, ``port`` and ``name``: of its `upsd` and in its certificate.
    """
    if env.room.ups or simulated is None:
        return dict(env.room.ups)
    return {site: Ups(unit=f"ups-{site}", address=simulated, port=port, name=name) for site in sorted(env.sites)}
