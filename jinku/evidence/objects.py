# SPDX-License-Identifier: Apache-2.0
"""Which things of an environment are assessed: the object of ``object x item``."""

from jinku.evidence.records import Object
from jinku.model import Topology

#: tier -> class of the object that it makes of its node, besides ``host`` and ``network``
CLASS_OF_TIER = {
    "postgres": "database",
    "vault": "vault",
    "crm": "application",
    "edge": "edge",
    "log": "log",
    "monitor": "monitor",
    "backup": "backup",
}
#: object classes, in the order of the report; ``network`` is a packet filter: a node's own, or a site's router
#: ``environment`` is the machine room, as the monitor sees it
CLASSES = ("network", "host", "edge", "application", "database", "vault", "log", "backup", "monitor", "environment")


def router_name(site: str) -> str:
    """Name of a site's router in the evidence."""
    return f"router-{site}"


def objects_of(topology: Topology) -> tuple[Object, ...]:
    """Every assessed object of the environment: each node as host and as packet filter, its tiers, each site's router."""
    routers = [
        Object(
            id=f"network:{router_name(site)}",
            object_class="network",
            node=router_name(site),
            site=site,
            zone="",
            address=str(topology.env.sites[site].network),
        )
        for site in topology.sites
    ]
    things = [
        Object(
            id=f"{name}:{node.name}",
            object_class=name,
            node=node.name,
            site=node.site,
            zone=node.zone,
            address=str(node.address),
            tiers=node.tiers,
        )
        for node in topology.nodes
        for name in ("host", "network", *(CLASS_OF_TIER[tier] for tier in node.tiers if tier in CLASS_OF_TIER))
    ]
    rooms = [
        thing.model_copy(update={"id": f"environment:{thing.node}", "object_class": "environment"})
        for thing in things
        if thing.object_class == "monitor" and topology.room
    ]
    return tuple(sorted([*routers, *things, *rooms], key=lambda thing: CLASSES.index(thing.object_class)))
