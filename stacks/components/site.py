# SPDX-License-Identifier: Apache-2.0
"""A site: its zones and what connects them."""

import pulumi

from jinku.model import Topology
from stacks.backends import Backend
from stacks.components.zone import ZoneComponent


class SiteComponent(pulumi.ComponentResource):
    """Groups a site. ``nodes``: facts by name of node."""

    nodes: dict[str, pulumi.Output[dict[str, str]]]

    def __init__(self, topology: Topology, site: str, backend: Backend) -> None:
        super().__init__("jinku:index:Site", site, None)
        resources = backend.site(site, self)
        self.nodes = {}
        for networks in topology.zones.values():
            if networks.site == site:
                self.nodes |= ZoneComponent(topology, networks, backend, resources, self).nodes
        self.register_outputs({"nodes": list(self.nodes)})
