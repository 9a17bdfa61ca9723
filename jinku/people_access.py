# SPDX-License-Identifier: Apache-2.0
"""A person's own way in: a folder with an SSH client's configuration, and the certificate that the vault signs for hours.

The person's key never leaves its file: it proves itself to the bastion, which leads it to the vault and nowhere else; as
a TLS key, under a certificate of the operators' authority, it logs in there; and it is what the vault signs.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import hvac
import requests
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hvac.exceptions import VaultError as HvacError

from jinku import clock, pki, ssh_access
from jinku.model import InputError, Topology
from jinku.model.environment import Operator
from jinku.model.people import fingerprint, has_account, keys_of, principal
from jinku.places import Places
from jinku.vault import Door, Fleet, VaultError, through_the_bastion
from jinku.vault.door import logged_in
from jinku.vault.people import HOST_CA
from jinku.vault.second_factor import fresh_code, has_secret, login, new_secret

_LOGIN_MINUTES = 60


@dataclass(frozen=True)
class Kit:
    """The files of a person's way in. ``folder`` is the person's; ``key`` the private key, which stays where it is."""

    folder: Path
    name: str
    key: Path

    @property
    def config(self) -> Path:
        """Client configuration: ``ssh -F`` this file, then a node's name."""
        return self.folder / "config"

    @property
    def certificate(self) -> Path:
        """The SSH certificate of some hours."""
        return self.folder / "ssh-cert.pub"

    @property
    def known_hosts(self) -> Path:
        """The authority that signs the hosts' keys: a new host is known by it."""
        return self.folder / "known_hosts"


def kit_of(topology: Topology, places: Places, name: str, key: Path | None) -> Kit:
    """The kit of a person who is present and whose key this is; its configuration is written.

    :param key: the private key; ``None``: the one that the lab made.
    :raises jinku.model.InputError: there is no such person, or the key is not theirs, or not one for this.
    """
    operator = _person(topology, name)
    key = key or places.ssh / "operators" / name
    public = key.with_name(key.name + ".pub")
    if not (key.is_file() and public.is_file()):
        raise InputError([f"{key}: --key: there is no key pair; the private key's file, with .pub beside it"])
    declared = {fingerprint(line) for line in keys_of(operator, ssh_access.generated_keys(places))}
    if fingerprint(public.read_text()) not in declared:
        raise InputError(
            [f"{public}: --key: is no key of {name} in environment.yaml; operators: {name}: keys lists the right ones"]
        )
    kit = Kit(places.state / "people" / name, name, key.resolve())
    kit.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_config(topology, places, kit, operator)
    return kit


def _person(topology: Topology, name: str) -> Operator:
    present = [operator for operator in topology.env.operators if operator.state == "present"]
    for operator in present:
        if operator.name == name:
            return operator
    names = ", ".join(operator.name for operator in present)
    raise InputError([f"environment.yaml: operators: nobody present is called {name!r}; one of {names}"])


def _write_config(topology: Topology, places: Places, kit: Kit, operator: Operator) -> None:
    authority = places.ssh / HOST_CA
    if not authority.exists():
        raise InputError([f"{authority}: (file): is missing; `jinku up` makes the vault's authorities and this file"])
    nodes = [node for node in topology.nodes if has_account(operator, node)]
    names = [word for node in nodes for word in (node.name, node.fqdn, *node.aliases, *map(str, node.addresses))]
    bastions = topology.nodes_of("bastion")
    lines = [f"# Made by jinku for {kit.name}; `ssh -F {kit.config} NODE`", ""]
    for node in nodes:
        near = next((one for one in bastions if one.site == node.site), bastions[0])
        jump = [] if "bastion" in node.tiers else [f"  ProxyJump {near.name}"]
        lines += [
            f"Host {node.name} {node.fqdn}",
            f"  HostName {node.address}",
            f"  HostKeyAlias {node.name}",
            *jump,
            "",
        ]
    lines += [
        "Host *",
        f"  User {kit.name}",
        f"  IdentityFile {kit.key}",
        f"  CertificateFile {kit.certificate}",
        "  IdentitiesOnly yes",
        f"  UserKnownHostsFile {kit.known_hosts}",
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        "  PasswordAuthentication no",
        "  ConnectTimeout 10",
        "  ServerAliveInterval 15",
        "  LogLevel ERROR",
    ]
    kit.config.write_text("\n".join(lines) + "\n")
    kit.known_hosts.write_text(f"@cert-authority {','.join(names)} {authority.read_text().strip()}\n")


def _tls_key(
    key: Path, passphrase: bytes | None
) -> tuple[bytes, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey]:
    try:
        private = serialization.load_ssh_private_key(key.read_bytes(), passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            [f"{key}: --key: cannot be opened ({error}); an OpenSSH private key and its passphrase"]
        ) from None
    public = private.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        raise InputError([f"{key}: --key: is a key that TLS does not know; an ed25519, ECDSA or RSA key"])
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, public


@contextlib.contextmanager
def entered(
    fleet: Fleet, door: Door, name: str, key: Path, code: str, passphrase: bytes | None = None
) -> Iterator[hvac.Client]:
    """Log in at the vault as a person, with the person's own SSH key and a one-time code; the token is revoked at the end.

    :raises VaultError: the vault refuses, with the words that it used.
    """
    pem, public = _tls_key(key, passphrase)
    own = fingerprint(key.with_name(key.name + ".pub").read_text())
    signed = pki.Authority(fleet.state / "pki", "operators").sign_person(name, own, public, _LOGIN_MINUTES)
    refused = f"login of {name}; the next code of the app, or `jinku up`, which tells the vault who works here"
    with logged_in(door, signed, pem, lambda client: login(client, name, code), refused) as client:
        yield client


def _kept(ssh: Path, name: str) -> Path:
    """Where the lab keeps a person's one-time-password secret, beside the key it made; nobody else's is kept."""
    return ssh / "operators" / f"{name}.otp"


def code_of(places: Places, name: str) -> str:
    """The one-time code of a person whose secret the lab keeps beside the key it made; nothing for everybody else."""
    kept = _kept(places.ssh, name)
    return fresh_code(kept.read_text().strip(), kept.with_suffix(".used")) if kept.exists() else ""


def give_second_factor(fleet: Fleet, manager: hvac.Client, name: str, file: Path) -> None:
    """Make a person's new one-time-password secret and write it to ``file`` (0600) as otpauth URL, for the person's app.

    What is in ``file`` is removed first, as it opens nothing from then on: whenever this is interrupted, no file says it does. So is
    what the lab keeps, which gets the new one, too: `jinku login` goes by it.
    :raises VaultError: the vault does not know the person, refuses, or does not answer.
    """
    try:
        fleet.person(name)
    except KeyError:
        names = ", ".join(person.name for person in fleet.people)
        raise VaultError(f"operators: nobody present with a key is called {name!r}; one of {names}") from None
    kept = _kept(fleet.state / "ssh", name)
    files = [file, kept] if kept.exists() and kept.resolve() != file.resolve() else [file]
    scratches = [path.with_name(f".{path.name}.new") for path in files]
    try:
        with contextlib.ExitStack() as opened:
            streams = []
            for scratch in scratches:
                scratch.unlink(missing_ok=True)
                descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                streams.append(opened.enter_context(os.fdopen(descriptor, "w")))
            for path in files:
                path.unlink(missing_ok=True)
            secret = new_secret(manager, name)
            for stream in streams:
                stream.write(secret + "\n")
        for scratch, path in zip(scratches, files, strict=True):
            scratch.rename(path)
    except (HvacError, requests.RequestException) as error:
        raise VaultError(
            f"one-time-password secret of {name}: is not made ({error}); `jinku up`, then again"
        ) from error
    finally:
        for scratch in scratches:
            scratch.unlink(missing_ok=True)


def ensure_lab_second_factors(fleet: Fleet, manager: hvac.Client) -> list[str]:
    """In the lab, whose people are invented: a one-time-password secret for each whose key the lab made, kept beside that key."""
    changes = []
    for person in fleet.people:
        key = fleet.state / "ssh" / "operators" / person.name
        kept = _kept(fleet.state / "ssh", person.name)
        if key.exists() and not (kept.exists() and has_secret(manager, person.name)):
            give_second_factor(fleet, manager, person.name, kept)
            changes.append(str(kept))
    return changes


def sign(topology: Topology, places: Places, kit: Kit, code: str, passphrase: bytes | None = None) -> str:
    """Have the vault sign the person's key; the certificate is written beside the configuration.

    :returns: until when it is valid, in the environment's zone.
    :raises VaultError: it refuses.
    """
    operator = _person(topology, kit.name)
    named = principal(kit.name, operator.duty, keys_of(operator, ssh_access.generated_keys(places)))
    public = kit.key.with_name(kit.key.name + ".pub").read_text().strip()
    fleet = Fleet.of(topology, places)
    with (
        through_the_bastion(fleet, kit.config) as door,
        entered(fleet, door, kit.name, kit.key, code, passphrase) as client,
    ):
        try:
            answer = client.write_data(
                f"ssh_people/sign/{kit.name}", data={"public_key": public, "valid_principals": named}
            )
        except (HvacError, requests.RequestException) as error:
            raise VaultError(f"ssh_people/sign/{kit.name}: is refused ({error}); `jinku up`, then again") from error
    scratch = kit.certificate.with_name(f".{kit.certificate.name}.{os.getpid()}")
    scratch.write_text(str(answer["data"]["signed_key"]))
    scratch.rename(kit.certificate)
    return clock.told(valid_until(kit.certificate), topology.env.timezone)


def valid_until(certificate: Path) -> datetime:
    """Until when an SSH certificate is valid."""
    said = subprocess.run(["ssh-keygen", "-L", "-f", str(certificate)], capture_output=True, text=True, check=True)
    until = next(line.split(" to ")[1] for line in said.stdout.splitlines() if line.strip().startswith("Valid:"))
    return datetime.fromisoformat(until).astimezone()  # ssh-keygen tells the time of this machine's zone
