# SPDX-License-Identifier: Apache-2.0
"""Backends: where hosts, networks and volumes come from. One module per place, and one line in :data:`BACKENDS`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol

import pulumi

from jinku.model import Node, Topology
from jinku.model.networks import ZoneNetworks
from jinku.places import Places


@dataclass(frozen=True)
class SiteResources:
    """What a backend made for a whole site, for its zones and nodes. ``provider``: None for the backend's default."""

    name: str
    component: pulumi.Resource
    provider: pulumi.ProviderResource | None = None


@dataclass(frozen=True)
class ZoneResources:
    """What a backend made for a zone, for its nodes to depend on."""

    networks: ZoneNetworks
    site: SiteResources
    resources: tuple[pulumi.Resource, ...] = field(default=())


class Backend(Protocol):
    """A place that can hold an environment. Each method makes the resources of one component as its children."""

    def site(self, name: str, parent: pulumi.Resource) -> SiteResources:
        """Make what connects the zones of a site."""

    def zone(self, networks: ZoneNetworks, site: SiteResources, parent: pulumi.Resource) -> ZoneResources:
        """Make a zone's network."""

    def node(self, node: Node, zone: ZoneResources, parent: pulumi.Resource) -> pulumi.Output[dict[str, str]]:
        """Make a host and its volumes; returns its facts: ``address`` and ``ssh_host_key`` (``ssh-ed25519 AAAA...``)."""


BACKENDS = {
    "lab": "stacks.backends.lab:LabBackend",
    "existing": "stacks.backends.existing:ExistingBackend",
}


def backend_of(topology: Topology, places: Places) -> Backend:
    """The backend that the environment names, loaded only when it is used."""
    module, name = BACKENDS[topology.env.backend].split(":")
    make: Callable[[Topology, Places], Backend] = getattr(import_module(module), name)
    return make(topology, places)
