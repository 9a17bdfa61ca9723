# SPDX-License-Identifier: Apache-2.0
"""A zone of a site: its network and its nodes."""

import pulumi

from jinku.model import Topology
from jinku.model.networks import ZoneNetworks
from stacks.backends import Backend, SiteResources
from stacks.components.node import NodeComponent


class ZoneComponent(pulumi.ComponentResource):
    """Groups a zone's network and nodes. ``nodes``: facts by name of node."""

    nodes: dict[str, pulumi.Output[dict[str, str]]]

    def __init__(
        self, topology: Topology, networks: ZoneNetworks, backend: Backend, site: SiteResources, parent: pulumi.Resource
    ) -> None:
        name = f"{networks.site}-{networks.zone}"
        super().__init__("jinku:index:Zone", name, None, pulumi.ResourceOptions(parent=parent))
        zone = backend.zone(networks, site, self)
        here = [node for node in topology.nodes if (node.site, node.zone) == (networks.site, networks.zone)]
        self.nodes = {node.name: NodeComponent(node, backend, zone, self).facts for node in here}
        self.register_outputs({"nodes": list(self.nodes)})
