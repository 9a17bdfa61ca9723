# SPDX-License-Identifier: Apache-2.0
"""A node: one host and the volumes that outlive it."""

import pulumi

from jinku.model import Node
from stacks.backends import Backend, ZoneResources


class NodeComponent(pulumi.ComponentResource):
    """Groups a host with its volumes. ``facts``: what the way in needs: {ssh_host_key, address, ...}."""

    facts: pulumi.Output[dict[str, str]]

    def __init__(self, node: Node, backend: Backend, zone: ZoneResources, parent: pulumi.Resource) -> None:
        super().__init__("jinku:index:Node", node.name, None, pulumi.ResourceOptions(parent=parent))
        self.facts = backend.node(node, zone, self)
        self.register_outputs({"facts": self.facts})
