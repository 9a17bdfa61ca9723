# SPDX-License-Identifier: Apache-2.0
"""The nodes of each profile, the zone of each tier, and the volumes that a tier brings."""

from typing import NamedTuple

from jinku.model.environment import Environment, Tier, Zone

#: A tier lives in one zone, so that a flow between tiers is a flow between zones.
TIER_ZONE: dict[Tier, Zone] = {
    "edge": "dmz",
    "crm": "app",
    "postgres": "data",
    "vault": "security",
    "bastion": "ops",
    "log": "audit",
    "witness": "audit",
    "monitor": "ops",
    "backup": "audit",
    "room": "facility",
}

#: tier -> (kind, mount point, size in GiB)
VOLUMES: dict[Tier, tuple[tuple[str, str, int], ...]] = {
    "crm": (("attachments", "/var/lib/tryton", 10),),
    "postgres": (("data", "/var/lib/postgresql", 20),),
    "vault": (("raft", "/var/lib/openbao", 2),),
    "log": (("logs", "/var/log/remote", 20),),
    "witness": (("seals", "/var/lib/jinku-witness", 2),),
    "monitor": (("measured", "/var/lib/jinku-monitor", 4),),
    "backup": (("backup", "/var/lib/jinku-backup", 60),),
}


#: Names by which one tier finds another, whatever node it runs on.
ALIASES: dict[Tier, str] = {
    "edge": "crm",
    "crm": "app",
    "postgres": "db",
    "vault": "vault",
    "log": "log",
    "bastion": "bastion",
    "witness": "witness",
    "monitor": "monitor",
    "backup": "backup",
    "room": "room",
}


class NodeSpec(NamedTuple):
    """A node of a profile, before it has addresses."""

    name: str
    site: str
    zone: Zone
    tiers: tuple[Tier, ...]
    number: int


NODES: dict[str, tuple[NodeSpec, ...]] = {
    "small": (
        NodeSpec("edge1", "a", "dmz", ("edge",), 4),
        NodeSpec("crm1", "a", "app", ("crm",), 4),
        NodeSpec("db1", "a", "data", ("postgres",), 4),
        NodeSpec("sec1", "a", "security", ("vault",), 4),
        NodeSpec("ops1", "a", "ops", ("bastion", "monitor"), 4),
        NodeSpec("aud1", "a", "audit", ("log",), 4),
        NodeSpec("db2", "b", "data", ("postgres",), 4),
        NodeSpec("ops2", "b", "ops", ("bastion",), 4),  # site b is entered when site a is dead
        NodeSpec("aud2", "b", "audit", ("witness", "backup"), 4),
    ),
    "standard": (
        NodeSpec("edge1", "a", "dmz", ("edge",), 4),
        NodeSpec("edge2", "a", "dmz", ("edge",), 5),
        NodeSpec("crm1", "a", "app", ("crm",), 4),
        NodeSpec("crm2", "a", "app", ("crm",), 5),
        NodeSpec("db1", "a", "data", ("postgres",), 4),
        NodeSpec("db2", "a", "data", ("postgres",), 5),
        NodeSpec("db3", "a", "data", ("postgres",), 6),
        NodeSpec("vault1", "a", "security", ("vault",), 4),
        NodeSpec("vault2", "a", "security", ("vault",), 5),
        NodeSpec("vault3", "a", "security", ("vault",), 6),
        NodeSpec("bastion1", "a", "ops", ("bastion",), 4),
        NodeSpec("monitor1", "a", "ops", ("monitor",), 5),
        NodeSpec("log1", "a", "audit", ("log",), 4),
        NodeSpec("db4", "b", "data", ("postgres",), 4),
        NodeSpec("bastion2", "b", "ops", ("bastion",), 4),
        NodeSpec("log2", "b", "audit", ("witness",), 4),
        NodeSpec("backup1", "b", "audit", ("backup",), 5),
    ),
}

#: What stands for the machine room's devices where there is no room: only in the backend ``lab``.
SIMULATED_ROOM = NodeSpec("room1", "a", "facility", ("room",), 4)


def specs(env: Environment) -> tuple[NodeSpec, ...]:
    """The profile's nodes at the environment's sites, in the order of the profile, then the operator's own."""
    simulated = (SIMULATED_ROOM,) if env.backend == "lab" else ()
    extra = (NodeSpec(node.name, node.site, node.zone, node.tiers, node.number) for node in env.nodes)
    return (*(spec for spec in (*NODES[env.profile], *simulated) if spec.site in env.sites), *extra)
