# SPDX-License-Identifier: Apache-2.0
"""What the vault must know of the environment, as plain data: taken from the inventory's variables, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinku.model.inventory import shared_variables
from jinku.model.topology import Topology
from jinku.places import Places

__all__ = ["Fleet", "Machine"]


@dataclass(frozen=True)
class Machine:
    """A node: its names and addresses are what its certificates may say."""

    name: str
    fqdn: str
    address: str
    address6: str | None
    tiers: tuple[str, ...]
    aliases: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """DNS names, the node's own first."""
        return [self.fqdn, *self.aliases]

    @property
    def addresses(self) -> list[str]:
        """Addresses as text, IPv4 first."""
        return [self.address, *([self.address6] if self.address6 else [])]

    @property
    def networks(self) -> list[str]:
        """The addresses as networks of one address each, as OpenBao takes them."""
        return [f"{self.address}/32", *([f"{self.address6}/128"] if self.address6 else [])]


@dataclass(frozen=True)
class Fleet:
    """All machines of an environment and how its vault is reached.

    `vault_name` is the name that the vault's certificate carries, `port` its TCP port; `state` is the
    environment's state folder; `database_names` are the servers of which one is the primary; `pgp_keys` the
    operators' OpenPGP keys (base64), if any, and `pgp_names` whose they are.
    """

    environment: str
    state: Path
    machines: tuple[Machine, ...]
    vault_name: str
    port: int
    database_names: tuple[str, ...]
    database_port: int
    pgp_keys: tuple[str, ...] = ()
    pgp_names: tuple[str, ...] = ()

    @classmethod
    def of_variables(cls, variables: Mapping[str, Any]) -> "Fleet":
        """Build it from the variables that the inventory gives every host (`jinku_env`, `jinku_hosts` and so on)."""
        env, names, services = variables["jinku_env"], variables["jinku_names"], variables["jinku_services"]
        machines = tuple(
            Machine(
                name=str(host["name"]),
                fqdn=str(host["fqdn"]),
                address=str(host["address"]),
                address6=str(host["address6"]) if host.get("address6") else None,
                tiers=tuple(str(tier) for tier in host["tiers"]),
                aliases=tuple(str(alias) for alias in host["aliases"]),
            )
            for host in variables["jinku_hosts"]
        )
        holders = [person for person in variables.get("jinku_operators", ()) if person.get("pgp")]
        return cls(
            environment=str(env["name"]),
            state=Path(str(variables["jinku_state"])),
            machines=machines,
            vault_name=str(names["vault"]),
            port=int(services["vault"]["port"]),
            database_names=tuple(machine.fqdn for machine in machines if "postgres" in machine.tiers),
            database_port=int(services.get("postgres", {}).get("port", 0)),
            pgp_keys=tuple(str(person["pgp"]) for person in holders),
            pgp_names=tuple(str(person["name"]) for person in holders),
        )

    @classmethod
    def of(cls, topology: Topology, places: Places) -> "Fleet":
        """Build it from the topology: the way of the command line and of tests."""
        return cls.of_variables(shared_variables(topology, places, {}))

    def of_tier(self, tier: str) -> list[Machine]:
        """Machines of a tier, in the order of the topology."""
        return [machine for machine in self.machines if tier in machine.tiers]
