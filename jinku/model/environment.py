# SPDX-License-Identifier: Apache-2.0
"""What the operator chooses: the shape of environment.yaml.

Every model refuses unknown keys and is frozen. Rules that need more than one field of one section live in
:mod:`jinku.model.invariants`, because they speak of nodes and flows.
"""

import re
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from jinku.model.alarm_sections import Alerts, Room
from jinku.model.fields import (
    Account,
    Address4,
    Address6,
    BlockDevice,
    DirectoryUrl,
    Domain,
    Duty,
    EnvironmentName,
    Fingerprint,
    Folder,
    Interface,
    KeyFile,
    Login,
    Mail,
    Name,
    Network4,
    Network6,
    OpenPgpKey,
    Port,
    Section,
    Sentence,
    SiteName,
    TimeZone,
)
from jinku.model.keeping_sections import Backup, Objectives, Retention

SCHEMA_VERSION = 1

Tier = Literal["edge", "crm", "postgres", "vault", "bastion", "log", "witness", "monitor", "backup", "room"]
Zone = Literal["dmz", "app", "data", "security", "ops", "audit", "facility"]

_KEY = re.compile(
    r"^(ssh-ed25519|sk-ssh-ed25519@openssh\.com|ecdsa-sha2-nistp(256|384|521)|ssh-rsa) [A-Za-z0-9+/]+={0,2}( [\w@.+-]*)?$"
)


def _whole_and_strong(line: str) -> None:
    """Refuse a key line that was cut off, or an RSA key shorter than 3072 bits."""
    try:
        key = load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is not a whole OpenSSH public key; the one line of the file id_ed25519.pub") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 3072:
        raise ValueError(f"is an RSA key of {key.key_size} bits, 3072 are wanted; an ed25519 key")


def _public_key(value: object) -> object:
    """Accept an OpenSSH public key line of a strong kind; refuse options, other kinds and short RSA keys."""
    if not isinstance(value, str) or not _KEY.match(value.strip()):
        raise ValueError("is not an OpenSSH public key of a strong kind; one line such as 'ssh-ed25519 AAAA... name'")
    if not value.startswith("sk-"):
        _whole_and_strong(value.strip())
    return value.strip()


PublicKey = Annotated[str, BeforeValidator(_public_key), Field(examples=["ssh-ed25519 AAAA... name"])]


def _certificates(text: str) -> str:
    """Accept PEM certificates and nothing else: a key must never stand in environment.yaml."""
    if "PRIVATE KEY" in text:
        raise ValueError("holds a private key; certificates only, and a new key, for this one has been seen")
    try:
        x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        raise ValueError("is not one or more certificates in PEM; `-----BEGIN CERTIFICATE-----` and so on") from None
    return text.strip() + "\n"


Certificates = Annotated[
    str,
    Field(max_length=100000, examples=["-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----"]),
    AfterValidator(_certificates),
]


class ZoneNetwork(Section):
    """A zone's own network, where it is not the one computed from the site's."""

    network: Network4
    """IPv4 network of the zone, /29 or larger."""
    network6: Network6 | None = None
    """IPv6 network of the zone, a /64."""


class Site(Section):
    """One place with its own power and network."""

    title: Sentence = "site"
    """What people call the place."""
    network: Network4
    """IPv4 network of the site; cut into eight equal parts, one a zone, in the fixed order of the zones."""
    network6: Network6 | None = None
    """IPv6 network of the site, /61 or larger; one /64 a zone. Absent: the site has no IPv6."""
    zones: dict[Zone, ZoneNetwork] = {}
    """Networks of single zones that differ from the computed ones."""


class Operator(Section):
    """A person with one of the three duties (三员)."""

    name: Name
    """Login name on the hosts."""
    duty: Duty
    """system: runs hosts; audit: reads logs; security: manages keys and policies."""
    keys: tuple[PublicKey, ...] = ()
    """OpenSSH public keys. The backend `lab` makes one when none is given; elsewhere at least one is needed."""
    pgp: OpenPgpKey | None = None
    """OpenPGP public key in base64 (`gpg --export NAME | base64 -w0`), to which a share of the vault's recovery key is encrypted."""
    state: Literal["present", "absent"] = "present"
    """absent: the account, its keys and its sessions are removed."""


class Crm(Section):
    """The application."""

    app: Literal["tryton"] = "tryton"
    """Which CRM plug-in."""
    languages: tuple[Literal["zh_CN", "en"], ...] = ("zh_CN", "en")
    """Languages of the user interface; the first is the administrator's."""
    company: Sentence = "Jinku"
    """Name of the company that uses the CRM."""
    demo_data: bool = False
    """Fill the CRM with invented customers. Never true where real data is."""
    administrators: tuple[Login, ...] = ("admin",)
    """Logins of those who administer the CRM itself. They are given their groups in the CRM; who administers it and is not here is a finding."""


class Edge(Section):
    """The TLS edge."""

    certificate: Literal["inside", "files", "acme"] = "inside"
    """inside: from the environment's own CA; files: from `certificate_files`; acme: from an ACME directory."""
    certificate_files: Folder | None = None
    """Folder on the edge hosts with `fullchain.pem` and `privkey.pem`, for `certificate: files`."""
    acme_directory: DirectoryUrl | None = None
    """Directory URL of the ACME service, for `certificate: acme`; its addresses are `outside.acme`."""
    acme_contact: Mail | None = None
    """Mail address that the ACME service may write to, before a certificate ends for one."""
    authorities: Certificates | None = None
    """Root certificates (PEM) of an authority that is not a public one: of the users' certificate, and of the ACME directory's own."""

    @model_validator(mode="after")
    def _source_is_complete(self) -> Self:
        if self.certificate == "files" and not self.certificate_files:
            raise ValueError(
                "certificate is 'files' but certificate_files is missing; the folder with fullchain.pem and privkey.pem"
            )
        if self.certificate == "acme" and not self.acme_directory:
            raise ValueError("certificate is 'acme' but acme_directory is missing; the https URL of the ACME directory")
        return self


class Outside(Section):
    """Places that Jinku does not manage. The defaults of the backend `lab` are its own controller."""

    operators: tuple[Network4 | Network6, ...] = ()
    """Networks from which operators work."""
    mirror: tuple[Address4 | Address6, ...] = ()
    """Addresses of the package mirror."""
    time: tuple[Address4 | Address6, ...] = ()
    """Addresses of the time servers."""
    acme: tuple[Address4 | Address6, ...] = ()
    """Addresses of the host in `edge.acme_directory`, for `edge.certificate: acme`."""
    others: dict[Name, tuple[Network4 | Network6, ...]] = {}
    """Other places, by name, for `flows`."""


class ExtraNode(Section):
    """A node beyond the profile's."""

    name: Name
    """Name of the host; unique in the environment."""
    site: SiteName
    """The site it stands in."""
    zone: Zone
    """The one zone it stands in."""
    tiers: tuple[Tier, ...] = ()
    """Tiers that run on it; all of the zone."""
    number: Annotated[int, Field(ge=4, le=65000)]
    """Host number in the zone's network. 1 is the router; 2 and 3 are kept for redundant routers."""


class ExtraFlow(Section):
    """A flow beyond the product's."""

    source: Name
    """Tier, node or name under outside.others that opens the connection."""
    destination: Name
    """Tier, node or name under outside.others that answers."""
    port: Port
    """Port of the service."""
    protocol: Literal["tcp", "udp"] = "tcp"
    """Transport."""
    en: Sentence
    """Why, in English."""
    zh: Sentence
    """Why, in Chinese."""


class Address(Section):
    """Where a node really is, when it is not at the computed place."""

    address: Address4 | None = None
    """IPv4 address within the zone's network."""
    address6: Address6 | None = None
    """IPv6 address within the zone's network."""
    interface: Interface | None = None
    """Network interface of the host."""
    fingerprint: Fingerprint | None = None
    """SHA256 fingerprint of the host's ed25519 SSH key (`ssh-keygen -lf`), which whoever installed the host has told."""


class Disk(Section):
    """An empty disk, for a volume of a host that exists."""

    device: BlockDevice
    """Block device, best by a name that stays, such as /dev/disk/by-id/..."""
    format: bool = False
    """true: an empty device is taken: `up` encrypts it as a whole (LUKS2). One that holds anything is never formatted."""


class Existing(Section):
    """How the backend `existing` comes onto hosts for the first time."""

    user: Account = "root"
    """Account of the hosts' owner, with sudo that asks no password; used until the automation account is there."""
    key: KeyFile | None = None
    """Private key of that account, a file on this machine; absent: what the SSH agent and ~/.ssh offer."""
    automation_key: KeyFile | None = None
    """The automation account's private key, with `.pub` beside it; absent: one is made in the state folder."""
    interface: Interface = "eth0"
    """Network interface of the hosts; `addresses` names it for single ones."""
    disks: dict[Name, Disk] = {}
    """Disks by name of volume (`jinku nodes`); volumes that are not named here are mounted already by their owner."""


class Lab(Section):
    """Networks that the backend `lab` makes around the sites."""

    wan: Network4 = IPv4Network("172.29.77.0/24")
    """The lab's Internet: the controller is .1, the routers .2 and up."""
    wan6: Network6 = IPv6Network("fd77:ff77::/64")
    """The same in IPv6."""
    link: Network4 = IPv4Network("172.29.78.0/29")
    """The line between the sites."""
    link6: Network6 = IPv6Network("fd77:ff78::/64")
    """The same in IPv6."""


class Vault(Section):
    """The vault."""

    seal: Literal["static", "shamir"] | None = None
    """How it opens after a start. shamir: operators give their shares. static: a key beside its data; where `disposable` is true only.
    Absent: static where `disposable` is true, shamir elsewhere. Cannot be changed once the vault is set up."""


class Updates(Section):
    """What `jinku update` may do."""

    reboot: bool = False
    """true: it restarts a machine where nothing less puts an update into force (a kernel), one at a time. Else it names the machine."""


class Environment(Section):
    """The whole of environment.yaml."""

    schema_version: Literal[1]
    """Version of this file's shape."""
    jinku: str = ">=0.1,<0.2"
    """Versions of Jinku that this environment accepts (PEP 440)."""
    name: EnvironmentName
    """Name of the environment; its state, stacks and hosts carry it."""
    profile: Literal["small", "standard"]
    """small: a small firm, one host a zone; standard: redundant, level 3."""
    backend: Literal["lab", "existing"]
    """lab: systemd-nspawn hosts on this machine; existing: hosts that are there, reached by SSH."""
    disposable: bool = False
    """true: `destroy` may delete the volumes too. Only for laboratories."""
    level: Literal[2, 3] = 3
    """Dengbao protection level."""
    domain: Domain
    """DNS domain of the environment's hosts."""
    timezone: TimeZone = "Asia/Shanghai"
    """Zone in which reports and the terminal show times; records are UTC."""
    sites: Annotated[dict[SiteName, Site], Field(min_length=1, max_length=2)]
    """The sites: `a` is the primary, `b` the disaster-recovery site."""
    operators: Annotated[tuple[Operator, ...], Field(min_length=3)]
    """Named people; each duty at least once."""
    outside: Outside = Outside()
    """Places that Jinku does not manage."""
    crm: Crm = Crm()
    """The application."""
    edge: Edge = Edge()
    """The TLS edge."""
    vault: Vault = Vault()
    """The vault."""
    retention: Retention = Retention()
    """How long things are kept."""
    backup: Backup = Backup()
    """What is kept of the past."""
    updates: Updates = Updates()
    """What `jinku update` may do."""
    objectives: Objectives = Objectives()
    """What the business accepts to lose."""
    nodes: tuple[ExtraNode, ...] = ()
    """Nodes beyond the profile's."""
    flows: tuple[ExtraFlow, ...] = ()
    """Flows beyond the product's."""
    addresses: dict[Name, Address] = {}
    """Addresses and interfaces of single nodes, by node name."""
    lab: Lab = Lab()
    """Networks that the backend `lab` makes around the sites."""
    alerts: Alerts = Alerts()
    """Where alarms go."""
    room: Room = Room()
    """Sensors and power of the machine room."""
    existing: Existing = Existing()
    """How the backend `existing` comes onto hosts for the first time."""
