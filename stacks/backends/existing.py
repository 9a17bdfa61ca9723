# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the arguments are the protocol's
"""Backend ``existing``: hosts that are there already, reached by SSH. Pulumi makes nothing; it records where they are.

Host keys lie in ``known_hosts`` beside environment.yaml, each confirmed by the person who installed the hosts (`jinku
contact`): one that was taken from the network unseen would prove nothing. The way on to the hosts is jinku/existing.
"""

import os

import pulumi

from jinku.existing import host_keys
from jinku.model import Node, Topology, environment_file
from jinku.model.networks import ZoneNetworks
from jinku.places import Places
from stacks.backends import SiteResources, ZoneResources


class ExistingBackend:
    """Makes no resource. :raises pulumi.RunError: a node's host key is not in ``<env>/known_hosts``."""

    def __init__(self, topology: Topology, places: Places) -> None:
        folder = environment_file(os.environ.get("JINKU_ENV") or places.name).parent
        self._file, self._keys = host_keys.file_of(folder), host_keys.read(folder, topology)

    def site(self, name: str, parent: pulumi.Resource) -> SiteResources:
        """Nothing: the owner's network connects the zones; `jinku render` writes the request for it."""
        return SiteResources(name, parent)

    def zone(self, networks: ZoneNetworks, site: SiteResources, parent: pulumi.Resource) -> ZoneResources:
        """Nothing, as for the site."""
        return ZoneResources(networks, site)

    def node(self, node: Node, zone: ZoneResources, parent: pulumi.Resource) -> pulumi.Output[dict[str, str]]:
        """Facts of the host as its owner gave them."""
        if node.name not in self._keys:
            raise pulumi.RunError(
                f"{self._file}: {node.name}: has no line; `jinku contact`, or '{node.name} ssh-ed25519 AAAA...', the host's own public key"
            )
        return pulumi.Output.from_input({"address": str(node.address), "ssh_host_key": self._keys[node.name]})
