# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the arguments are the protocol's
"""Backend ``existing``: hosts that are there already, reached by SSH. Pulumi makes nothing; it records where they are.

Host keys come from the person who installed the hosts, in ``known_hosts`` beside environment.yaml: a key that was taken
from the network at the first connection would prove nothing.
"""

import os

import pulumi

from jinku.model import Node, Topology, environment_file
from jinku.model.topology import ZoneNetworks
from jinku.places import Places
from stacks.backends import SiteResources, ZoneResources


class ExistingBackend:
    """Makes no resource. :raises pulumi.RunError: a node's host key is not in ``<env>/known_hosts``."""

    def __init__(self, topology: Topology, places: Places) -> None:
        self._file = environment_file(os.environ.get("JINKU_ENV") or places.name).parent / "known_hosts"
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        entries = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
        self._keys = {name: entry[1] for entry in entries if len(entry) > 1 for name in entry[0].split(",")}

    def site(self, name: str, parent: pulumi.Resource) -> SiteResources:
        """Nothing: the owner's network connects the zones; `jinku render` writes the request for it."""
        return SiteResources(name, parent)

    def zone(self, networks: ZoneNetworks, site: SiteResources, parent: pulumi.Resource) -> ZoneResources:
        """Nothing, as for the site."""
        return ZoneResources(networks, site)

    def node(self, node: Node, zone: ZoneResources, parent: pulumi.Resource) -> pulumi.Output[dict[str, str]]:
        """Facts of the host as its owner gave them."""
        for name in (node.name, node.fqdn, str(node.address)):
            if name in self._keys:
                return pulumi.Output.from_input({"address": str(node.address), "ssh_host_key": self._keys[name]})
        raise pulumi.RunError(
            f"{self._file}: {node.name}: has no line; '{node.name} ssh-ed25519 AAAA...', the host's own public key"
        )
