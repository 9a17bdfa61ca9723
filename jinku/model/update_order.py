# SPDX-License-Identifier: Apache-2.0
"""In which order the hosts of an environment are updated, one at a time. Pure."""

from collections.abc import Collection

from jinku.model.environment import Tier
from jinku.model.topology import Node, Topology

#: What nobody's work goes through comes first: an update that breaks something breaks it there. Then what the others depend on, the users' own
#: way, and the bastion: while it is the last of its site, whatever happens to it, no host that is still to be done is out of reach.
UPDATE_ORDER: tuple[Tier, ...] = (
    "room",
    "witness",
    "backup",
    "monitor",
    "log",
    "vault",
    "postgres",
    "crm",
    "edge",
    "bastion",
)


def update_order(topology: Topology, primaries: Collection[str]) -> tuple[Node, ...]:
    """All nodes in the order of their update: site after site, the first one last, and in each by :data:`UPDATE_ORDER`.

    ``primaries``: names of the nodes whose database takes writes. Such a node comes after every standby, at whichever site that is.
    """

    def turn(node: Node) -> tuple[int, int]:
        return -topology.sites.index(node.site), max((UPDATE_ORDER.index(tier) for tier in node.tiers), default=-1)

    ordered = sorted(topology.nodes, key=turn)
    for leading in [node for node in ordered if node.name in primaries]:
        standbys = [node for node in topology.nodes_of("postgres") if node.name not in primaries]
        after = max((ordered.index(node) for node in standbys), default=-1)
        if ordered.index(leading) < after:
            ordered.remove(leading)
            ordered.insert(after, leading)
    return tuple(ordered)
