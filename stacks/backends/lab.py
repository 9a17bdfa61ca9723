# SPDX-License-Identifier: Apache-2.0
"""Backend ``lab``: systemd-nspawn hosts, bridges and routers on this machine, by the provider `pulumi-resource-jinku`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pulumi
import yaml

from jinku.model import Node, Topology
from jinku.model.firewall import router_ruleset
from jinku.model.networks import ZoneNetworks
from jinku.parts import ensure_part
from jinku.places import CHECKOUT, Places
from jinku.ssh_access import ensure_automation_key
from stacks.backends import SiteResources, ZoneResources

SUITE = "trixie"
_FIRST_ROUTER = 2  # host number on the wan and the link; 1 is the controller


class _Provider(pulumi.ProviderResource):
    """The provider's process; declared, so that no default provider of an unknown version is looked for."""

    def __init__(self, parent: pulumi.Resource) -> None:
        super().__init__("jinku", "lab", {}, pulumi.ResourceOptions(parent=parent))


class _Lab(pulumi.CustomResource):
    """A resource of the lab; ``outputs`` names the properties that the provider computes."""

    def __init__(
        self, kind: str, name: str, inputs: Mapping[str, Any], outputs: tuple[str, ...], options: pulumi.ResourceOptions
    ) -> None:
        super().__init__(f"jinku:lab:{kind}", name, {**inputs, **dict.fromkeys(outputs)}, options)


class Image(_Lab):
    """A golden layer: Debian with the packages of a set of tiers, made once and shared by content."""

    path: pulumi.Output[str]
    digest: pulumi.Output[str]

    def __init__(self, name: str, inputs: Mapping[str, Any], options: pulumi.ResourceOptions) -> None:
        super().__init__("Image", name, inputs, ("path", "digest"), options)


class Network(_Lab):
    """The bridge of a zone."""

    def __init__(self, name: str, inputs: Mapping[str, Any], options: pulumi.ResourceOptions) -> None:
        super().__init__("Network", name, inputs, (), options)


class Router(_Lab):
    """The router of a site, with the policy between its zones."""

    def __init__(self, name: str, inputs: Mapping[str, Any], options: pulumi.ResourceOptions) -> None:
        super().__init__("Router", name, inputs, (), options)


class Volume(_Lab):
    """Data that outlives its host."""

    def __init__(self, name: str, inputs: Mapping[str, Any], options: pulumi.ResourceOptions) -> None:
        super().__init__("Volume", name, inputs, (), options)


class Host(_Lab):
    """A running host. ``ssh_host_key``: its public key, as ``ssh-ed25519 AAAA...``."""

    ssh_host_key: pulumi.Output[str]

    def __init__(self, name: str, inputs: Mapping[str, Any], options: pulumi.ResourceOptions) -> None:
        super().__init__("Host", name, inputs, ("ssh_host_key",), options)


def packages_of(role: Path) -> list[str]:
    """Packages that a role declares in vars/packages.yml, [] when it declares none."""
    return _declared(role, lambda key: not key.endswith("_parts"))


def parts_of(role: Path) -> list[str]:
    """Parts (jinku/parts.py) that a role declares there as `<role>_parts`, [] when it declares none."""
    return _declared(role, lambda key: key.endswith("_parts"))


def _declared(role: Path, wanted: Callable[[str], bool]) -> list[str]:
    file = role / "vars/packages.yml"
    values = yaml.safe_load(file.read_text()) if file.exists() else None
    return [name for key, value in (values or {}).items() if wanted(key) and isinstance(value, list) for name in value]


class LabBackend:
    """Makes an environment's sites on this machine."""

    def __init__(self, topology: Topology, places: Places) -> None:
        self._topology, self._places = topology, places
        self._images: dict[str, Image] = {}
        self._base = sorted({package for role in self._every_host() for package in packages_of(role)})

    @staticmethod
    def _every_host() -> list[Path]:
        return [*sorted((CHECKOUT / "hardening").iterdir()), CHECKOUT / "roles/enrol"]

    def site(self, name: str, parent: pulumi.Resource) -> SiteResources:
        """The provider and the site's router."""
        provider = _Provider(parent)
        options = pulumi.ResourceOptions(parent=parent, provider=provider)
        lab, index = self._topology.env.lab, self._number(name)
        zones = [zone for zone in self._topology.zones.values() if zone.site == name]
        Router(
            f"router-{name}",
            {
                "env": self._places.name,
                "site": name,
                "wan_address": f"{lab.wan[index]}/{lab.wan.prefixlen}",
                "wan_address6": f"{lab.wan6[index]}/{lab.wan6.prefixlen}",
                "link_address": f"{lab.link[index]}/{lab.link.prefixlen}",
                "link_address6": f"{lab.link6[index]}/{lab.link6.prefixlen}",
                "zones": [
                    {
                        "zone": zone.zone,
                        "address": f"{zone.gateway}/{zone.network.prefixlen}",
                        "address6": f"{zone.gateway6}/64" if zone.gateway6 else "",
                    }
                    for zone in zones
                ],
                "ruleset": router_ruleset(self._topology, name),
                "routes": self._routes(name),
            },
            options,
        )
        return SiteResources(name, parent, provider)

    def _number(self, site: str) -> int:
        """Host number of a site's router on the wan and the link."""
        return self._topology.sites.index(site) + _FIRST_ROUTER

    def _routes(self, name: str) -> list[dict[str, str]]:
        """Routes to the networks of the other sites, over the link."""
        lab, found = self._topology.env.lab, []
        for networks in self._topology.zones.values():
            if networks.site != name:
                number = self._number(networks.site)
                found.append({"to": str(networks.network), "via": str(lab.link[number])})
                if networks.network6:
                    found.append({"to": str(networks.network6), "via": str(lab.link6[number])})
        return found

    def zone(self, networks: ZoneNetworks, site: SiteResources, parent: pulumi.Resource) -> ZoneResources:
        """The zone's bridge."""
        network = Network(
            f"{networks.site}-{networks.zone}",
            {
                "env": self._places.name,
                "site": networks.site,
                "zone": networks.zone,
                "network": str(networks.network),
                "network6": str(networks.network6 or ""),
            },
            pulumi.ResourceOptions(parent=parent, provider=site.provider),
        )
        return ZoneResources(networks, site, (network,))

    def _image(self, tiers: tuple[str, ...], site: SiteResources) -> Image:
        """The image of a set of tiers, on top of the base image; each declared once a stack."""
        packages = {package for tier in tiers for package in packages_of(CHECKOUT / "roles" / tier)}
        own = sorted(packages - set(self._base))
        parts = sorted({part for tier in tiers for part in parts_of(CHECKOUT / "roles" / tier)})
        if not own and not parts:
            tiers = ()  # nothing on top of the base
        name = "-".join(("base", *sorted(tiers)))
        if name not in self._images:
            self._images[name] = Image(
                name,
                {
                    "name": name,
                    "suite": SUITE,
                    "cache": str(self._places.cache),
                    "tiers": sorted(tiers),
                    "packages": own if tiers else self._base,
                    "parts": [str(ensure_part(part, self._places.cache)) for part in (parts if tiers else ["openbao"])],
                    "base": self._image((), site).path if tiers else "",
                },
                pulumi.ResourceOptions(parent=site.component, provider=site.provider),
            )
        return self._images[name]

    def node(self, node: Node, zone: ZoneResources, parent: pulumi.Resource) -> pulumi.Output[dict[str, str]]:
        """The node's volumes and its host."""
        options = pulumi.ResourceOptions(parent=parent, provider=zone.site.provider)
        disposable = self._topology.env.disposable
        volumes = [
            Volume(
                volume.name,
                {
                    "env": self._places.name,
                    "site": node.site,
                    "name": volume.name,
                    "size_gib": volume.size_gib,
                    "disposable": disposable,
                },
                pulumi.ResourceOptions.merge(options, pulumi.ResourceOptions(protect=not disposable)),
            )
            for volume in node.volumes
        ]
        networks, mirror = zone.networks, self._topology.outside["mirror"]
        host = Host(
            node.name,
            {
                "env": self._places.name,
                "site": node.site,
                "name": node.name,
                "fqdn": node.fqdn,
                "zone": node.zone,
                "image": self._image(node.tiers, zone.site).path,
                "interface": node.interface,
                "address": f"{node.address}/{networks.network.prefixlen}",
                "gateway": str(networks.gateway),
                "address6": f"{node.address6}/64" if node.address6 else "",
                "gateway6": str(networks.gateway6 or ""),
                "volumes": [{"name": volume.name, "mount": volume.mount} for volume in node.volumes],
                "automation_key": ensure_automation_key(self._places),
                "mirror": str(mirror[0].network_address),
            },
            pulumi.ResourceOptions.merge(options, pulumi.ResourceOptions(depends_on=[*zone.resources, *volumes])),
        )
        return pulumi.Output.all(host.ssh_host_key).apply(
            lambda known: {"address": str(node.address), "ssh_host_key": known[0]}
        )
