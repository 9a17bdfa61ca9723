# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of an environment, computed from its environment.yaml; nothing is written down twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin

DOCUMENTATION = """
name: jinku
short_description: Hosts and variables of a Jinku environment
description:
  - Reads the environment that JINKU_ENV names, or an environment.yaml given as the source.
options:
  plugin:
    description: Must be jinku.
    choices: [jinku]
    required: true
  env:
    description: Name of a folder under inventories/, or the path of a folder that holds an environment.yaml.
    env: [{name: JINKU_ENV}]
    default: lab
"""


class InventoryModule(BaseInventoryPlugin):
    """Hands jinku.model.inventory to Ansible."""

    NAME = "jinku"

    def verify_file(self, path: str) -> bool:
        """Accept `jinku.yaml` (with `plugin: jinku`) and any environment.yaml."""
        return super().verify_file(path) and Path(path).name in ("jinku.yaml", "environment.yaml")

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill Ansible's inventory; raises AnsibleParserError with the environment's own error text."""
        super().parse(inventory, loader, path, cache)
        if Path(path).name == "environment.yaml":
            env = path
        else:
            self._read_config_data(path)
            env = str(self.get_option("env"))
        for group, content in computed(env).items():
            if group == "_meta":
                for host, variables in content["hostvars"].items():
                    self.inventory.add_host(host)
                    for key, value in variables.items():
                        self.inventory.set_variable(host, key, value)
            elif group != "all":
                self.inventory.add_group(group)
                for host in content["hosts"]:
                    self.inventory.add_host(host, group=group)


def computed(env: str) -> dict[str, Any]:
    """Return the inventory of an environment, in the shape of `ansible-inventory --list`."""
    try:
        from jinku.model.inventory import inventory as compute
        from jinku.model.loading import InputError, environment_file, load_environment
        from jinku.model.topology import Topology
        from jinku.origin import places_of
        from jinku.ssh_access import generated_keys
    except ImportError as error:
        raise AnsibleParserError(
            f"{env}: (jinku): {error}; install the package into Ansible's Python, `pip install -e .`"
        ) from error
    try:
        file = environment_file(env)
        environment = load_environment(file)
        places = places_of(environment.name, file)
    except InputError as error:
        raise AnsibleParserError(str(error)) from error
    result: dict[str, Any] = compute(Topology.of(environment), places, generated_keys(places))
    return result
