# SPDX-License-Identifier: Apache-2.0
"""What runs right now, asked of every host by SSH: reachable, healthy, and does each declared service listen."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from jinku import clock, replication
from jinku.backups import Copy
from jinku.model import Node, Topology
from jinku.model.topology import HOSTS, SERVICES, VAULT, Service
from jinku.places import Places

SCHEMA = "jinku/status/1"
TIMEOUT_SECONDS = 15
SHUT = "shut"
#: Its host can tell of volumes, and this one is not where it should be mounted.
MISSING = "missing"
_CONNECT_SECONDS = 5

# One round trip: the manager's state, the failed units, the listening sockets with their ports, the volumes.
_LOOK = (
    "systemctl is-system-running; echo ---; systemctl list-units --failed --plain --no-legend; echo ---; "
    "ss -Hlntu | awk '{print $1, $5}'; echo ---; systemctl show --timestamp=utc --property=UserspaceTimestamp --value; echo ---; "
    "sudo -n /usr/local/sbin/jinku-volumes state 2>/dev/null"
)
# On a vault's host: the server itself says whether it is sealed. Only its word is wanted, so nobody's name is verified.
_SEAL = "; echo ---; BAO_ADDR=https://$(hostname --fqdn):{port} bao status -tls-skip-verify -format=json"
# Which certificate a service shows now, whatever its file says: its name and the end, one a line.
_SHOWN = (
    "; end=$(timeout 3 openssl s_client -connect {address}:{port} {more} </dev/null 2>/dev/null | openssl x509 -noout -enddate 2>/dev/null)"
    " && echo {name} ${{end#notAfter=}}"
)
_SYSTEMD_UTC = "%Y-%m-%d %H:%M:%S UTC"
_OPENSSL_END = "%b %d %H:%M:%S %Y GMT"
#: Services that show a certificate to whoever asks -> how openssl asks them.
_TLS = {"edge_https": "-servername {name}", "crm": "", "postgres": "-starttls postgres", "vault": "", "log": ""}
#: On a node with a database: which of the pair it is, and how far it is behind.
_DATABASE = f"sudo -n {replication.PROGRAM} state"
#: Last: which services did not take over the newest certificate (roles/enrol).
_LEFT = "; echo ---; cat /etc/jinku/tls/reload.failed 2>/dev/null"


@dataclass(frozen=True)
class NodeStatus:
    """The truth about one node. ``services``: name -> whether its port is listened on; ``system``: systemd's word for it.

    ``volumes``: name -> how it is (``shut``, ``missing``, ``in the clear``, or who keeps the key that opened it). ``sealed``: whether its
    vault is, None where there is none or it does not answer.
    """

    name: str
    site: str
    zone: str
    tiers: tuple[str, ...]
    reachable: bool
    system: str
    failed_units: tuple[str, ...]
    services: dict[str, bool]
    up_since: str
    """RFC 3339; empty when the node does not say it."""
    error: str
    volumes: dict[str, str] = field(default_factory=dict)
    sealed: bool | None = None
    certificates: dict[str, str] = field(default_factory=dict)
    """Service -> the end of the certificate that it shows, RFC 3339."""
    database: dict[str, Any] = field(default_factory=dict)
    """The document ``jinku/postgres/1`` of a node with a database."""
    rpo_seconds: float = 0.0
    """How far behind a standby may be."""
    left: tuple[str, ...] = ()
    """Hooks that failed when the host's certificate was renewed: what they speak for still shows the one before."""
    timezone: str = "UTC"
    """The environment's: in it ``state`` tells times."""

    @property
    def expired(self) -> tuple[str, ...]:
        """Services whose certificate has expired."""
        now = datetime.now(UTC)
        return tuple(name for name, end in self.certificates.items() if datetime.fromisoformat(end) <= now)

    @property
    def healthy(self) -> bool:
        """Reachable, fully booted, no failed unit, every declared service listens, no volume is shut, its vault is open, no certificate is over or was not taken over.

        A standby also follows within the RPO.
        """
        open_ = not {SHUT, MISSING} & set(self.volumes.values()) and (self.sealed is False or "vault" not in self.tiers)
        up = self.reachable and self.system == "running" and open_ and all(self.services.values())
        return up and not self.expired and not self.left and self.follows

    @property
    def silent(self) -> bool:
        """Whether there is a database that does not say what it is, so that nobody knows whether there are two primaries."""
        return "postgres" in self.tiers and not self.database

    @property
    def follows(self) -> bool:
        """Whether a standby receives and is within the RPO; of a database that says what it is, true when it is no standby."""
        if self.silent:
            return False
        if self.database.get("role") != "standby":
            return self.database.get("role") != "fenced"
        lag = self.database.get("lag_seconds")
        return bool(self.database.get("streaming")) and lag is not None and float(lag) <= self.rpo_seconds

    @property
    def state(self) -> str:
        """In one word or sentence, for people."""
        if not self.reachable:
            return self.error
        if self._certificate:
            return self._certificate
        if self.system != "running":
            return self.system
        if self.sealed:
            return "vault is sealed; `jinku unseal`"
        if away := [f"volume {how}: {name}" for name, how in self.volumes.items() if how in (SHUT, MISSING)]:
            return ", ".join(away)
        return "ok" if self.healthy else self._down

    @property
    def _certificate(self) -> str:
        """What is wrong with certificates; empty when nothing is."""
        if self.expired:
            ends = ", ".join(f"{name} on {clock.told(self.certificates[name], self.timezone)}" for name in self.expired)
            return f"certificate expired: {ends}"
        return f"new certificate not taken over by: {', '.join(self.left)}" if self.left else ""

    @property
    def _down(self) -> str:
        """What is wrong with the services of a host that itself is well."""
        if not all(self.services.values()) or self.follows:
            return "service down"
        return "database does not say what it is" if self.silent else "does not follow"

    def as_json(self) -> dict[str, object]:
        """The node as it stands in a document of the schema ``jinku/status/1``."""
        return {**asdict(self), "healthy": self.healthy}


def services_of(topology: Topology, node: Node) -> list[Service]:
    """Services that the node must offer because of its tiers and the flows that lead to it."""
    reached = {(pair.protocol, pair.port) for pair in topology.allowed() if pair.destination == node.name}
    offered = [service for service in SERVICES.values() if service.where in (HOSTS, *node.tiers)]
    return [service for service in offered if (service.protocol, service.port) in reached]


def parse(topology: Topology, node: Node, output: str) -> NodeStatus:
    """Make sense of what :data:`_LOOK` printed on a node."""
    parts = [part.strip() for part in (output + "\n---" * 8 + "\n").split("---\n")]
    system, failed, sockets, since, volumes, seal, shown, database, left = parts[:9]
    listening = set()
    for line in sockets.splitlines():
        protocol, _, address = line.partition(" ")
        local = address.startswith(("127.", "[::1]"))
        if not local:
            listening.add((protocol, address.rpartition(":")[2]))
    services = {
        service.name: (service.protocol, str(service.port)) in listening for service in services_of(topology, node)
    }
    units = tuple(line.split()[0] for line in failed.splitlines() if line.strip())
    told = _volumes(volumes)
    how = {} if told is None else {volume.name: told.get(volume.name, MISSING) for volume in node.volumes}
    found = json.loads(database) if database.startswith("{") and database.endswith("}") else {}
    return NodeStatus(
        node.name,
        node.site,
        node.zone,
        node.tiers,
        True,
        system,
        units,
        services,
        _begun(since),
        "",
        how,
        _sealed(seal),
        _ends(shown),
        found,
        topology.env.objectives.rpo_minutes * 60.0,
        tuple(left.split()),
        topology.env.timezone,
    )


def _begun(told: str) -> str:
    """A moment as `systemctl show --timestamp=utc` tells it; the name of the day follows its locale."""
    try:
        return datetime.strptime(told.partition(" ")[2], _SYSTEMD_UTC).replace(tzinfo=UTC).isoformat()
    except ValueError:
        return ""


def _ends(shown: str) -> dict[str, str]:
    """The ends of the certificates that services showed."""
    lines = (line.partition(" ") for line in shown.splitlines())
    return {name: datetime.strptime(end, _OPENSSL_END).replace(tzinfo=UTC).isoformat() for name, _, end in lines if end}


def _volumes(output: str) -> dict[str, str] | None:
    """What jinku-volumes said of each volume, in a few words; None where it is not there or could not be asked."""
    try:
        told = json.loads(output)
    except ValueError:
        return None
    return {
        one["name"]: "in the clear" if "key" not in one else f"encrypted, key: {one['key']}" if one["open"] else SHUT
        for one in told
    }


def _sealed(told: str) -> bool | None:
    """What `bao status -format=json` told; None if it told nothing."""
    try:
        return bool(json.loads(told)["sealed"])
    except (ValueError, KeyError):
        return None


def look_at(topology: Topology, node: Node) -> str:
    """The shell command that asks a node."""
    asked = _LOOK + (_SEAL.format(port=VAULT.port) if "vault" in node.tiers else "; echo ---") + "; echo ---"
    for service in services_of(topology, node):
        if service.name in _TLS:
            more = _TLS[service.name].format(name=next(iter(node.aliases), node.fqdn))
            asked += _SHOWN.format(address=node.address, port=service.port, name=service.name, more=more)
    return f"{asked}; echo ---; {_DATABASE if 'postgres' in node.tiers else 'true'}{_LEFT}; true"


def _ask(topology: Topology, places: Places, node: Node) -> NodeStatus:
    command = [
        "ssh",
        "-F",
        str(places.ssh_config),
        "-o",
        f"ConnectTimeout={_CONNECT_SECONDS}",
        "-o",
        "BatchMode=yes",
        node.name,
        "--",
        look_at(topology, node),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        error = f"no answer within {TIMEOUT_SECONDS} s"
    else:
        if done.returncode != 255:
            return parse(topology, node, done.stdout)
        error = (done.stderr.strip().splitlines() or ["ssh failed"])[-1]
    silent = dict.fromkeys((service.name for service in services_of(topology, node)), False)
    return NodeStatus(
        node.name, node.site, node.zone, node.tiers, False, "", (), silent, "", error, timezone=topology.env.timezone
    )


def look(topology: Topology, places: Places) -> list[NodeStatus]:
    """Ask all nodes at the same time. A node that does not answer takes at most :data:`TIMEOUT_SECONDS`."""
    with ThreadPoolExecutor(max(len(topology.nodes), 1)) as pool:
        return list(pool.map(lambda node: _ask(topology, places, node), topology.nodes))


def primaries(nodes: list[NodeStatus]) -> list[str]:
    """Names of the nodes whose database runs as a primary. More than one: what is written to either is missing in the other."""
    return [node.name for node in nodes if node.database.get("role") == "primary" and node.database.get("running")]


def document(environment: str, nodes: list[NodeStatus], copies: list[Copy]) -> str:
    """The JSON document ``jinku/status/1``."""
    healthy = all(node.healthy for node in nodes) and len(primaries(nodes)) < 2
    content = {
        "schema": SCHEMA,
        "environment": environment,
        "healthy": healthy,
        "nodes": [node.as_json() for node in nodes],
        "backups": [
            {"node": one.node, "kind": one.kind, "finished": one.finished.isoformat() if one.finished else None}
            for one in copies
        ],
    }
    return json.dumps(content, ensure_ascii=False, indent=1)
