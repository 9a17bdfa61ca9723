# SPDX-License-Identifier: Apache-2.0
"""The Ansible inventory, in the shape of ``ansible-inventory --list``. Roles take every port and address from here."""

from typing import Any

from jinku.model.alarms import alerts_of
from jinku.model.environment import Operator
from jinku.model.firewall import node_ruleset
from jinku.model.networks import Volume
from jinku.model.people import accounts_on, keys_of, principal
from jinku.model.power import stop_after
from jinku.model.profiles import ALIASES
from jinku.model.topology import ACME, LOOPBACK, MIRROR, OPERATORS, SERVICES, TIME, Node, Topology
from jinku.places import Places

AUTOMATION = "automation"


def inventory(topology: Topology, places: Places, generated_keys: dict[str, str] | None = None) -> dict[str, Any]:
    """Hosts, groups and variables.

    :param topology: the environment's topology.
    :param places: where the environment's SSH configuration lies.
    :param generated_keys: public keys by operator, for operators of the lab who have none of their own.
    :returns: groups ``site_*``, ``zone_*`` and one for each tier, and ``_meta.hostvars``.
    """
    groups: dict[str, dict[str, list[str]]] = {}
    for node in topology.nodes:
        for group in (f"site_{node.site}", f"zone_{node.zone}", *node.tiers):
            groups.setdefault(group, {"hosts": []})["hosts"].append(node.name)
    for tier in ALIASES:
        groups.setdefault(tier, {"hosts": []})
    shared = shared_variables(topology, places, generated_keys or {})
    hostvars = {node.name: {**shared, **_host_variables(topology, node)} for node in topology.nodes}
    return {"_meta": {"hostvars": hostvars}, "all": {"children": sorted(groups)}, **groups}


def shared_variables(topology: Topology, places: Places, generated_keys: dict[str, str]) -> dict[str, Any]:
    """Variables that are the same for every host; names are part of the roles' contract (CONTRIBUTING.md)."""
    env = topology.env
    domain = env.domain
    return {
        "jinku_env": {
            "name": env.name,
            "domain": domain,
            "level": env.level,
            "profile": env.profile,
            "backend": env.backend,
            "disposable": env.disposable,
            "timezone": env.timezone,
            "log_retention_days": env.retention.log_days,
            "updates": env.updates.model_dump(mode="json"),
            "backup": env.backup.model_dump(mode="json"),
            "crm": {"database": "crm", **env.crm.model_dump(mode="json")},
            "vault": {"seal": env.vault.seal or ("static" if env.disposable else "shamir")},
            "edge": {"server_name": f"{ALIASES['edge']}.{domain}", **env.edge.model_dump(mode="json")},
        },
        "jinku_hosts": [node_variables(node) for node in topology.nodes],
        "jinku_services": {
            **{name: {"port": service.port, "protocol": service.protocol} for name, service in SERVICES.items()},
            **{name: {"port": port, "protocol": "tcp"} for name, port in LOOPBACK.items()},
        },
        "jinku_names": {tier: f"{alias}.{domain}" for tier, alias in ALIASES.items()},
        "jinku_operators": [_operator(operator, generated_keys) for operator in env.operators],
        "jinku_outside": {
            "mirror": {
                "address": next((str(n.network_address) for n in topology.outside[MIRROR] if n.version == 4), None),
                "address6": next((str(n.network_address) for n in topology.outside[MIRROR] if n.version == 6), None),
            },
            "time": [str(network.network_address) for network in topology.outside[TIME]],
            "operators": [str(network) for network in topology.outside[OPERATORS]],
            "acme": {
                "name": topology.acme[0] if topology.acme else "",
                "addresses": [str(network.network_address) for network in topology.outside.get(ACME, ())],
            },
        },
        "jinku_alerts": _alerts(topology, places),
        "jinku_room": {name: device.model_dump(mode="json") for name, device in topology.room.items()},
        "jinku_ups": {site: ups.model_dump(mode="json") for site, ups in topology.ups.items()},
        "jinku_state": str(places.state),
        "ansible_user": AUTOMATION,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_private_key_file": str(places.automation_key),
        # Ansible names a shared connection by host and user only: sec1 of two environments would be one and the same.
        "ansible_control_path_dir": str(places.ssh),
        "ansible_ssh_common_args": f"-F {places.ssh_config}",
    }


def _alerts(topology: Topology, places: Places) -> dict[str, Any]:
    """Where alarms go; ``authority``: file on the controller that signed the receivers' certificates, or None."""
    own = str(places.receiver_certificate) if topology.env.backend == "lab" else None
    told = alerts_of(topology.env).model_dump(mode="json")
    return {**told, "authority": told["authority"] or own}


def _operator(operator: Operator, generated_keys: dict[str, str]) -> dict[str, Any]:
    keys = keys_of(operator, generated_keys)
    share = {"pgp": operator.pgp} if operator.pgp and operator.state == "present" else {}
    return {
        "name": operator.name,
        "duty": operator.duty,
        "state": operator.state,
        "keys": list(keys),
        "principal": principal(operator.name, operator.duty, keys),
        **share,
    }


def node_variables(node: Node) -> dict[str, Any]:
    """What other hosts need to know of a node."""
    return {
        "name": node.name,
        "fqdn": node.fqdn,
        "aliases": list(node.aliases),
        "site": node.site,
        "zone": node.zone,
        "tiers": list(node.tiers),
        "address": str(node.address),
        "address6": str(node.address6) if node.address6 else None,
    }


def _volume(volume: Volume) -> dict[str, Any]:
    disk = {"device": volume.device, "format": volume.format} if volume.device else {}
    return {"name": volume.name, "mount": volume.mount, **disk}


def _host_variables(topology: Topology, node: Node) -> dict[str, Any]:
    return {
        # The name, not the address: <state>/ssh/config holds the address, the jump and the known host key.
        "ansible_host": node.name,
        "jinku_node": {
            **node_variables(node),
            "interface": node.interface,
            "volumes": [_volume(volume) for volume in node.volumes],
            "operators": [operator.name for operator in accounts_on(topology.env, node)],
            "stop_after": stop_after(topology.env, node.tiers),
        },
        "jinku_firewall_ruleset": node_ruleset(topology, node),
    }
