# SPDX-License-Identifier: Apache-2.0
"""What the vault must know of the environment, as plain data: taken from the inventory's variables, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from jinku.model.inventory import shared_variables
from jinku.model.people import fingerprint
from jinku.model.topology import Topology
from jinku.places import Places
from jinku.ssh_access import generated_keys

__all__ = ["Fleet", "Machine", "Person"]


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


def _key_id(key: str) -> str:
    """Subject key identifier of an OpenSSH public key line; nothing for a security key, which X.509 does not know."""
    if key.startswith("sk-"):
        return ""
    public = serialization.load_ssh_public_key(key.encode())
    return x509.SubjectKeyIdentifier.from_public_key(public).digest.hex(":")


@dataclass(frozen=True)
class Person:
    """Somebody with a duty. `principal` is what their SSH certificate names, `fingerprints` are those of their own keys.

    `key_ids` are the same keys as X.509 names them (subject key identifier, as OpenBao writes it).
    """

    name: str
    duty: str
    principal: str
    fingerprints: tuple[str, ...]
    key_ids: tuple[str, ...]


@dataclass(frozen=True)
class Fleet:
    """All machines of an environment and how its vault is reached.

    `vault_name` is the name that the vault's certificate carries, `port` its TCP port; `state` is the
    environment's state folder; `database_names` are the servers of which one is the primary; `pgp_keys` the
    operators' OpenPGP keys (base64), if any, and `pgp_names` whose they are; `people` those who are
    present, with at least one key; `outside` the networks from which they work.
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
    people: tuple[Person, ...] = ()
    outside: tuple[str, ...] = ()

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
            people=tuple(
                Person(
                    name=str(one["name"]),
                    duty=str(one["duty"]),
                    principal=str(one["principal"]),
                    fingerprints=tuple(fingerprint(str(key)) for key in one["keys"]),
                    key_ids=tuple(found for key in one["keys"] if (found := _key_id(str(key)))),
                )
                for one in variables.get("jinku_operators", ())
                if one["state"] == "present" and one["keys"]
            ),
            outside=tuple(str(network) for network in variables.get("jinku_outside", {}).get("operators", ())),
            pgp_keys=tuple(str(person["pgp"]) for person in holders),
            pgp_names=tuple(str(person["name"]) for person in holders),
        )

    @classmethod
    def of(cls, topology: Topology, places: Places) -> "Fleet":
        """Build it from the topology: the way of the command line and of tests."""
        return cls.of_variables(shared_variables(topology, places, generated_keys(places)))

    def person(self, name: str) -> Person:
        """The person of that name. :raises KeyError: nobody who is present, and has a key, is called so."""
        for one in self.people:
            if one.name == name:
                return one
        raise KeyError(name)

    def of_tier(self, tier: str) -> list[Machine]:
        """Machines of a tier, in the order of the topology."""
        return [machine for machine in self.machines if tier in machine.tiers]
