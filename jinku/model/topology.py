# SPDX-License-Identifier: Apache-2.0
"""Sites, zones, nodes, volumes and flows of an environment: the one source of truth for the network. Pure, no I/O."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

from jinku.model.alarm_sections import RoomDevice, Ups
from jinku.model.alarms import room_of, ways_of
from jinku.model.environment import Environment, ExtraFlow, Tier, Zone
from jinku.model.networks import Volume, ZoneNetworks, volumes_of
from jinku.model.power import ups_of
from jinku.model.profiles import ALIASES, NodeSpec, specs

#: Order of the zones in a site's network: explicit numbers, so that growth renumbers nobody. Part 7 is kept free.
ZONES: dict[Zone, int] = {"dmz": 0, "app": 1, "data": 2, "security": 3, "ops": 4, "audit": 5, "facility": 6}
_PARTS_BITS = 3

HOSTS = "hosts"
INTERNET = "internet"
OPERATORS = "operators"
MIRROR = "mirror"
TIME = "time"
ACME = "acme"
ROOM = "room"
ANYWHERE: tuple[IPv4Network | IPv6Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Service:
    """What a destination offers. ``where``: a tier, ``hosts`` (every node) or the name of an outside place."""

    name: str
    where: str
    port: int
    protocol: str = "tcp"


SSH = Service("ssh", HOSTS, 22)
EDGE_HTTPS = Service("edge_https", "edge", 443)
EDGE_HTTP = Service("edge_http", "edge", 80)
CRM = Service("crm", "crm", 8443)
POSTGRES = Service("postgres", "postgres", 5432)
VAULT = Service("vault", "vault", 8200)
VAULT_CLUSTER = Service("vault_cluster", "vault", 8201)
LOG = Service("log", "log", 6514)
WITNESS = Service("witness", "witness", 6515)
SESSIONS = Service("sessions", "log", 30344)
BACKUP_AGENT = Service("backup_agent", "postgres", 8432)
ATTACHMENTS = Service("attachments", "crm", 8444)
NODE_METRICS = Service("node_metrics", HOSTS, 9100)
ROOM_SENSORS = Service("room_sensors", ROOM, 161, "udp")
UPS = Service("ups", ROOM, 3493)  # or the place that `room.ups` names
NTP = Service("ntp", TIME, 123, "udp")
PACKAGES = Service("mirror", MIRROR, 3142)
ACME_DIRECTORY = Service("acme", ACME, 443)  # or the port that `edge.acme_directory` names
_SERVICES = (SSH, EDGE_HTTPS, EDGE_HTTP, CRM, POSTGRES, VAULT, VAULT_CLUSTER, LOG, WITNESS, SESSIONS)
_COPIED = (BACKUP_AGENT, ATTACHMENTS)
SERVICES = {service.name: service for service in (*_SERVICES, *_COPIED, NODE_METRICS, ROOM_SENSORS, UPS, NTP, PACKAGES)}
#: Ports on loopback, for the programs of one host among each other: no flow leads there, and nobody else may listen.
LOOPBACK = {"prometheus": 9090, "alertmanager": 9093, "blackbox_exporter": 9115, "snmp_exporter": 9116}


@dataclass(frozen=True)
class Flow:
    """Who may reach which service, and why. ``source``: a tier, a node, a site (``site_a``), ``hosts`` or an outside place.

    ``only``: tier to which the destination is narrowed when the service is on every host.
    """

    source: str
    service: Service
    en: str
    zh: str
    only: str | None = None

    @property
    def id(self) -> str:
        """The id that firewalls, probes and sheets carry, such as ``crm>postgres``."""
        return f"{self.source}>{self.service.name}"

    @property
    def destination(self) -> str:
        """Tier, node, ``hosts`` or outside place that answers."""
        return self.only or self.service.where


FLOWS = (
    Flow(INTERNET, EDGE_HTTPS, en="users work in the CRM", zh="用户访问 CRM"),
    Flow(INTERNET, EDGE_HTTP, en="plain HTTP is redirected to HTTPS", zh="明文 HTTP 重定向到 HTTPS"),
    Flow(OPERATORS, SSH, en="operators enter by the bastion", zh="运维人员经堡垒机进入", only="bastion"),
    Flow("bastion", SSH, en="the bastion alone opens SSH inside", zh="仅堡垒机可发起内部 SSH"),
    Flow("edge", CRM, en="the edge passes requests to the CRM", zh="边界转发请求到 CRM"),
    Flow("crm", POSTGRES, en="the CRM stores its data", zh="CRM 存取业务数据"),
    Flow("vault", POSTGRES, en="the vault rotates database passwords", zh="密钥库轮换数据库口令"),
    Flow("postgres", POSTGRES, en="the standby follows the primary", zh="备库跟随主库复制"),
    Flow(HOSTS, VAULT, en="every host renews its certificate and secrets", zh="各主机更新证书与密钥"),
    Flow("vault", VAULT_CLUSTER, en="members of the vault replicate", zh="密钥库成员间复制"),
    Flow(HOSTS, LOG, en="every host sends its log", zh="各主机发送日志"),
    Flow("log", WITNESS, en="seals of the logs are kept elsewhere", zh="日志摘要另处留存"),
    Flow(HOSTS, SESSIONS, en="every host sends recordings of sessions", zh="各主机发送运维会话录像"),
    Flow("monitor", NODE_METRICS, en="the monitor asks every host how it is", zh="监控采集各主机状态"),
    Flow("monitor", EDGE_HTTPS, en="the monitor looks at the CRM as users do", zh="监控从用户入口探测 CRM"),
    Flow("monitor", ROOM_SENSORS, en="the monitor reads the machine room's sensors", zh="监控读取机房传感器"),
    # The backup host fetches; nobody opens a connection to it for copies: who has broken into a host cannot reach its backups.
    Flow("backup", POSTGRES, en="the backup host receives the log of changes", zh="备份主机接收数据库变更日志（WAL）"),
    Flow("backup", BACKUP_AGENT, en="the backup host fetches the database's files", zh="备份主机拉取数据库文件"),
    Flow("backup", ATTACHMENTS, en="the backup host fetches the CRM's attachments", zh="备份主机拉取 CRM 附件"),
    Flow(HOSTS, NTP, en="every host keeps the time", zh="各主机校时"),
    Flow(HOSTS, PACKAGES, en="every host fetches updates", zh="各主机获取更新"),
    Flow("edge", ACME_DIRECTORY, en="the edge gets the users' certificate", zh="边界获取对外证书"),
)


@dataclass(frozen=True)
class Node:
    """A host: in exactly one zone of one site, with the tiers that run on it."""

    name: str
    site: str
    zone: Zone
    tiers: tuple[Tier, ...]
    number: int
    fqdn: str
    aliases: tuple[str, ...]
    address: IPv4Address
    address6: IPv6Address | None
    interface: str
    volumes: tuple[Volume, ...]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All addresses, IPv4 first."""
        return (self.address, self.address6) if self.address6 else (self.address,)


@dataclass(frozen=True)
class AllowedFlow:
    """One allowed pair: a flow between one source and one destination.

    ``source`` and ``destination`` are names of nodes or outside places; addresses are networks (a node's are /32, /128).
    """

    id: str
    source: str
    source_networks: tuple[Network, ...]
    destination: str
    destination_networks: tuple[Network, ...]
    protocol: str
    port: int
    en: str
    zh: str


class Topology:
    """What an environment consists of, computed from the operator's choices.

    :param env: a checked environment; :meth:`of` is the usual way in.
    :raises ValueError: from the properties, when :func:`jinku.model.invariants.problems` has something to say.
    """

    def __init__(self, env: Environment) -> None:
        self.env = env

    @classmethod
    def of(cls, env: Environment) -> "Topology":
        """The topology of a loaded environment."""
        return cls(env)

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites, the primary first."""
        return tuple(sorted(self.env.sites))

    @cached_property
    def zones(self) -> dict[tuple[str, Zone], ZoneNetworks]:
        """Networks by (site, zone)."""
        return {(site, zone): self._zone(site, zone) for site in self.sites for zone in ZONES}

    def _zone(self, site_name: str, zone: Zone) -> ZoneNetworks:
        site = self.env.sites[site_name]
        own = site.zones.get(zone)
        network = own.network if own else list(site.network.subnets(_PARTS_BITS))[ZONES[zone]]
        network6 = own.network6 if own else None
        if network6 is None and site.network6 is not None:
            start = int(site.network6.network_address) + (ZONES[zone] << 64)
            network6 = IPv6Network((start, 64))
        return ZoneNetworks(site_name, zone, network, network6)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, the profile's first, in the order of the profile."""
        return tuple(self._node(spec) for spec in specs(self.env))

    def _node(self, spec: NodeSpec) -> Node:
        name, site, zone, tiers, number = spec
        networks = self.zones[site, zone]
        over = self.env.addresses.get(name)
        address = (over.address if over else None) or networks.network.network_address + number
        address6 = (over.address6 if over else None) or (networks.network6[number] if networks.network6 else None)
        volumes = volumes_of(self.env, name, tiers)
        aliases = tuple(f"{ALIASES[tier]}.{self.env.domain}" for tier in tiers if tier in ALIASES)
        usual = self.env.existing.interface if self.env.backend == "existing" else "eth0"
        interface = (over.interface if over else None) or usual
        return Node(
            name, site, zone, tiers, number, f"{name}.{self.env.domain}", aliases, address, address6, interface, volumes
        )

    def node(self, name: str) -> Node:
        """The node of that name. :raises KeyError: there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def nodes_of(self, where: str) -> tuple[Node, ...]:
        """Nodes that a flow's end means: a tier's, one node, all of a site (``site_a``) or of all (``hosts``); empty for outside places."""
        return tuple(
            node for node in self.nodes if where in {HOSTS, node.name, f"site_{node.site}"} or where in node.tiers
        )

    @cached_property
    def volumes(self) -> tuple[Volume, ...]:
        """All volumes of the environment."""
        return tuple(volume for node in self.nodes for volume in node.volumes)

    @cached_property
    def outside(self) -> dict[str, tuple[Network, ...]]:
        """Networks of the places outside, by name."""
        env = self.env
        devices = env.room.devices.values()
        own = (_host(env.lab.wan[1]), _host(env.lab.wan6[1])) if env.backend == "lab" else ()
        return {
            INTERNET: ANYWHERE,
            OPERATORS: env.outside.operators or own,
            MIRROR: tuple(_host(address) for address in env.outside.mirror) or own,
            TIME: tuple(_host(address) for address in env.outside.time) or own,
            **({ACME: tuple(_host(address) for address in env.outside.acme) or own} if self.acme else {}),
            **{way.name: (_host(way.address),) for way in ways_of(env)},
            **({ROOM: tuple(_host(device.address) for device in devices)} if devices else {}),
            **{f"ups_{site}": (_host(ups.address),) for site, ups in env.room.ups.items()},
            **env.outside.others,
        }

    @cached_property
    def acme(self) -> tuple[str, int] | None:
        """Host and port of the ACME directory; None where the certificate that users see comes another way."""
        edge = self.env.edge
        if edge.certificate != "acme" or edge.acme_directory is None:
            return None
        url = urlsplit(edge.acme_directory)
        return url.hostname or "", url.port or ACME_DIRECTORY.port

    @cached_property
    def room(self) -> dict[str, RoomDevice]:
        """Devices of the machine room by name; in the backend ``lab`` the node ``room1`` stands for them all."""
        return room_of(self.env, next((node.address for node in self.nodes_of(ROOM)), None))

    @cached_property
    def ups(self) -> dict[str, Ups]:
        """The UPS of each site that has one; in the backend ``lab`` the node ``room1`` stands for the machines beside them."""
        node = next(iter(self.nodes_of(ROOM)), None)
        return ups_of(self.env, node.address if node else None, UPS.port, node.aliases[0] if node else "")

    def _power(self) -> Iterator[Flow]:
        """Every host of a site asks how that site's UPS is, and no other's."""
        for site, ups in self.ups.items():
            service = replace(UPS, where=f"ups_{site}" if self.env.room.ups else ROOM, port=ups.port)
            yield Flow(
                f"site_{site}", service, en="every host of a site hears when its power fails", zh="各站点主机获知断电"
            )

    @cached_property
    def inside(self) -> tuple[Network, ...]:
        """Networks of all sites, with the zones that lie outside their site's network."""
        networks: list[Network] = []
        for site in self.env.sites.values():
            networks += [site.network, *([site.network6] if site.network6 else [])]
            for zone in site.zones.values():
                networks += [zone.network, *([zone.network6] if zone.network6 else [])]
        return tuple(networks)

    @cached_property
    def flows(self) -> tuple[Flow, ...]:
        """The product's flows whose two ends exist here, then the operator's."""
        ways = (Flow("monitor", Service(way.name, way.name, way.port), way.en, way.zh) for way in ways_of(self.env))
        ends = [
            flow
            for flow in (*FLOWS, *ways, *self._power())
            if self._exists(flow.source) and self._exists(flow.destination)
        ]
        known = [self._placed(flow) for flow in ends]
        return (*known, *(self._extra(flow) for flow in self.env.flows))

    def _placed(self, flow: Flow) -> Flow:
        """The flow with the port that the operator's choice gives its service."""
        if flow.service is not ACME_DIRECTORY or self.acme is None:
            return flow
        return replace(flow, service=replace(ACME_DIRECTORY, port=self.acme[1]))

    def _exists(self, end: str) -> bool:
        return end in self.outside or bool(self.nodes_of(end))

    @staticmethod
    def _extra(flow: ExtraFlow) -> Flow:
        service = Service(f"{flow.destination}-{flow.protocol}{flow.port}", flow.destination, flow.port, flow.protocol)
        return Flow(flow.source, service, flow.en, flow.zh)

    @cached_property
    def _allowed(self) -> tuple[AllowedFlow, ...]:
        return tuple(pair for flow in self.flows for pair in self._pairs(flow))

    def allowed(self) -> tuple[AllowedFlow, ...]:
        """Every allowed pair of source and destination, in the order of the flows; a node never pairs with itself."""
        return self._allowed

    def _pairs(self, flow: Flow) -> Iterator[AllowedFlow]:
        for source, source_networks in self._ends(flow.source):
            for destination, networks in self._ends(flow.destination):
                if source != destination:
                    service = flow.service
                    yield AllowedFlow(
                        flow.id,
                        source,
                        source_networks,
                        destination,
                        networks,
                        service.protocol,
                        service.port,
                        flow.en,
                        flow.zh,
                    )

    def _ends(self, end: str) -> Iterator[tuple[str, tuple[Network, ...]]]:
        if end in self.outside:
            yield end, self.outside[end]
        for node in self.nodes_of(end):
            yield node.name, tuple(_host(address) for address in node.addresses)


def _host(address: Address) -> Network:
    return IPv4Network(address) if isinstance(address, IPv4Address) else IPv6Network(address)
