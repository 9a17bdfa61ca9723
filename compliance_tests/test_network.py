# SPDX-License-Identifier: Apache-2.0
"""Who may talk to whom: the loaded packet filters, and every pair tried, IPv4 and IPv6, also by strangers.

A probe can agree for the wrong reason (a source's own filter drops the packet first). So each way in is tried by a
stranger that no filter holds back, each way out leads to a listener that takes everybody, and the counter of the filter
under test must have counted every refused packet. In a site's router likewise.
"""

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import pytest
from asking import ask, listeners, tcp_probe
from faults.probes import OUTSIDE, Strangers, inside_namespace, possible

from jinku.evidence.fleet import CONTROLLER
from jinku.evidence.sabotage import Sabotage
from jinku.model.firewall import node_ruleset, router_ruleset
from jinku.model.topology import ANYWHERE, INTERNET, SERVICES

# Ports of the standard's commentaries: file shares, remote desktops, clear-text logins, data stores without a password.
DANGEROUS = (21, 23, 25, 53, 111, 135, 139, 445, 2049, 3306, 3389, 5900, 6379, 9200, 11211, 27017)
SERVICE_PORTS = tuple(sorted({service.port for service in SERVICES.values() if service.protocol == "tcp"}))
PORTS = tuple(sorted({*SERVICE_PORTS, *DANGEROUS}))
IMPORTANT = ("data", "security", "audit", "ops")
REFUSED = ("silent", "refused", "prohibited", "unreachable")


def is_router(subject):
    return subject.zone == ""


def site_of(subject):
    return subject.node.removeprefix("router-")


# -- the loaded filter ------------------------------------------------------------------------------------------------


def rendered(subject, topology):
    if is_router(subject):
        return router_ruleset(topology, site_of(subject))
    return node_ruleset(topology, topology.node(subject.node))


def without_counters(listing):
    """Nft's JSON as it is compared: no handles and counts, which change by themselves."""

    def clean(one):
        if isinstance(one, dict):
            return {key: (None if key == "counter" else clean(value)) for key, value in one.items() if key != "handle"}
        return [clean(item) for item in one] if isinstance(one, list) else one

    return [clean(entry) for entry in json.loads(listing)["nftables"] if "metainfo" not in entry]


def loaded(host):
    return without_counters(host.check_output("nft -j list table inet jinku"))


def rules(host, chain):
    return [entry["rule"]["expr"] for entry in loaded(host) if "rule" in entry and entry["rule"]["chain"] == chain]


def accepting(host, chain):
    """Accepting rules of a chain that a flow asked for: (comment, expression) by comment's presence."""
    found = []
    for entry in loaded(host):
        rule = entry.get("rule")
        if rule and rule["chain"] == chain and {"accept": None} in rule["expr"] and "comment" in rule:
            found.append((rule["comment"], rule["expr"]))
    return found


def matches(expression):
    """What a rule looks at: {"ip.saddr", "tcp.dport", "ct.state", ...}."""
    found = set()
    for part in expression:
        left = part.get("match", {}).get("left", {})
        left = left["&"][0] if "&" in left else left
        if "payload" in left:
            found.add(f"{left['payload'].get('protocol')}.{left['payload'].get('field')}")
        elif "ct" in left:
            found.add(f"ct.{left['ct']['key']}")
        elif "meta" in left:
            found.add(f"meta.{left['meta']['key']}")
    return found


@pytest.mark.control("dengbao:8.1.3.2.b", "dengbao:8.1.2.1.d", "dengbao:8.1.4.4.c", "iso27001:A.8.20", "iso27001:A.8.9")
@pytest.mark.objects("network")
@pytest.mark.setting
def test_the_loaded_filter_is_the_rendered_one(host, subject, topology):
    """The kernel holds exactly the rules that the declared flows render to, and no table beside ours.

    zh: 内核中加载的规则与由声明的流量渲染出的规则完全一致，且无其他规则表。
    """
    tables = host.check_output("nft list tables").splitlines()
    assert tables == ["table inet jinku"], f"tables beside ours: {', '.join(set(tables) - {'table inet jinku'})}"
    # The same nft normalises both: the rendered text is loaded in an empty namespace of its own and listed again.
    fresh = host.run(
        "unshare --net sh -c 'nft -f /dev/stdin && nft -j list table inet jinku'", given=rendered(subject, topology)
    )
    assert fresh.rc == 0, fresh.stderr
    wanted, found = without_counters(fresh.stdout), loaded(host)
    extra = [entry for entry in found if entry not in wanted]
    missing = [entry for entry in wanted if entry not in found]
    assert not extra, f"loaded and not rendered: {json.dumps(extra[0])[:300]}"
    assert not missing, f"rendered and not loaded: {json.dumps(missing[0])[:300]}"
    assert found == wanted, "the rules stand in another order"


@pytest.mark.control("dengbao:8.1.3.2.a", "dengbao:8.1.3.1.c", "iso27001:A.8.20")
@pytest.mark.objects("network")
@pytest.mark.setting
def test_what_no_rule_allows_is_denied(host, subject):
    """In, out and through: every base chain drops by policy, and its last rule drops or refuses everything.

    zh: 入、出、转发各链默认策略均为丢弃，末条规则拒绝一切。
    """
    chains = {entry["chain"]["hook"]: entry["chain"] for entry in loaded(host) if "chain" in entry}
    for hook in ("input", "forward") if is_router(subject) else ("input", "forward", "output"):
        assert hook in chains, f"nothing filters {hook}"
        assert chains[hook]["policy"] == "drop", f"{hook}: policy {chains[hook]['policy']}"
        last = rules(host, chains[hook]["name"])[-1]
        assert matches(last) == set(), f"{hook}: the last rule is not for everything"
        assert any("drop" in part or "reject" in part for part in last), f"{hook}: the last rule does not deny"
        # Without a flow's name only loopback, answers and the messages that IP itself needs may pass.
        for expression in rules(host, chains[hook]["name"]):
            if {"accept": None} in expression and not any("comment" in part for part in expression):
                assert matches(expression), f"{hook}: a rule accepts everything"


@pytest.mark.control("dengbao:8.1.3.2.c", "iso27001:A.8.20")
@pytest.mark.objects("network")
@pytest.mark.setting
def test_each_rule_names_source_destination_protocol_and_port(host, subject, topology):
    """A rule for a flow checks protocol and port, and the far end's address unless the flow is open to the internet.

    zh: 每条放行规则都检查协议、端口与对端地址（面向互联网的流量除外）。
    """
    open_to_all = {flow.id for flow in topology.flows if flow.source == INTERNET}
    chains = {"forward": ("saddr", "daddr")} if is_router(subject) else {"input": ("saddr",), "output": ("daddr",)}
    for chain, fields in chains.items():
        found = accepting(host, chain)
        assert found, f"no rule accepts anything in {chain}"
        for flow, expression in found:
            seen = matches(expression)
            assert seen & {"tcp.dport", "udp.dport"}, f"{chain}: {flow}: no protocol and port"
            for field in fields:
                known = seen & {f"ip.{field}", f"ip6.{field}"}
                assert known or (field == "saddr" and flow in open_to_all), f"{chain}: {flow}: no {field}"


@pytest.mark.control("dengbao:8.1.3.2.d", "iso27001:A.8.20")
@pytest.mark.objects("network")
@pytest.mark.setting
def test_rules_know_the_state_of_a_session(host, subject):
    """Answers pass, what belongs to no session is dropped, and a flow's rule accepts the beginning of one only.

    zh: 已建立会话放行、无效报文丢弃，放行规则仅匹配新会话。
    """
    for chain in ("forward",) if is_router(subject) else ("input", "output"):
        text = [json.dumps(expression) for expression in rules(host, chain)]
        assert any('"established"' in one and '"accept"' in one for one in text), f"{chain}: answers are not recognised"
        if chain != "output":
            assert any('"invalid"' in one and '"drop"' in one for one in text), (
                f"{chain}: invalid packets are not dropped"
            )
        for flow, expression in accepting(host, chain):
            assert "ct.state" in matches(expression), f"{chain}: {flow}: accepts at any state"


@pytest.mark.control("dengbao:8.1.2.1.c", "iso27001:A.8.22")
@pytest.mark.objects("network")
@pytest.mark.setting
def test_addresses_lie_in_the_declared_zones(host, subject, topology):
    """Each interface's addresses are those of the zone that it is declared for, and there is no other interface.

    zh: 各接口地址均属于其声明的区域，且无其他接口。
    """
    seen = {
        link["ifname"]: [ip_address(one["local"]) for one in link["addr_info"] if one["scope"] == "global"]
        for link in json.loads(host.check_output("ip -j addr show"))
        if link["ifname"] != "lo"
    }
    if is_router(subject):
        for zone in {node.zone for node in topology.nodes if node.site == site_of(subject)}:
            networks = topology.zones[site_of(subject), zone]
            for wanted in filter(None, (networks.network, networks.network6)):
                assert any(one in wanted for found in seen.values() for one in found), (
                    f"no leg in zone {zone}: {wanted}"
                )
        lan = [one for name, found in seen.items() if name not in ("wan", "link") for one in found]
        strange = [
            one
            for one in lan
            if not any(one in network for network in topology.inside if network.version == one.version)
        ]
        assert not strange, f"addresses of no zone: {strange}"
        return
    node = topology.node(subject.node)
    assert list(seen) == [node.interface], f"interfaces: {', '.join(seen)}"
    assert set(seen[node.interface]) == set(node.addresses), f"addresses: {', '.join(map(str, seen[node.interface]))}"


@pytest.mark.control("dengbao:8.1.3.1.a", "iso27001:A.8.20")
@pytest.mark.objects("network")
@pytest.mark.setting
def test_only_the_router_stands_in_two_zones(host, subject, topology):
    """A node does not forward and has one leg; a router's legs are the declared ones.

    zh: 节点不转发且只有一个接口；路由器接口与声明一致。
    """
    forwarding = host.check_output("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding").split()
    legs = [link["ifname"] for link in json.loads(host.check_output("ip -j link show")) if link["ifname"] != "lo"]
    if is_router(subject):
        zones = {zone for site, zone in topology.zones if site == site_of(subject)}
        assert set(legs) <= {*zones, "wan", "link"}, (
            f"undeclared legs: {', '.join(sorted(set(legs) - zones - {'wan', 'link'}))}"
        )
        return
    assert forwarding == ["0", "0"], "the node forwards packets"
    assert len(legs) == 1, f"legs: {', '.join(legs)}"


# -- every pair tried -------------------------------------------------------------------------------------------------


class Sweep:
    """All probes of one session, side by side; tests read what they found by asking again, which is answered from memory."""

    def __init__(self, fleet, topology):
        self.fleet, self.topology = fleet, topology
        self._context = Strangers(topology, PORTS)
        self.strangers = self._context.__enter__().all
        self.hosts = {
            key: fleet.add(f"probe-{key}", inside_namespace(one.netns)) for key, one in self.strangers.items()
        }

    def close(self):
        """Remove the strangers."""
        self._context.__exit__()

    def key(self, node):
        """Key of the stranger in the node's zone."""
        return f"{node.site}-{node.zone}"

    def dropped(self, host, chain, moment):
        """Packets that the last rule of ``chain`` has refused so far."""
        listing = json.loads(host.check_output(f"nft -j list chain inet jinku {chain} # {moment}"))["nftables"]
        return [entry["rule"] for entry in listing if "rule" in entry][-1]["expr"][0]["counter"]["packets"]

    def counted(self, host, chain, name, probe):
        """What ``probe`` found, and how many packets the last rule of ``chain`` refused meanwhile."""
        before = self.dropped(host, chain, f"before {name}")
        found = probe()
        return found, self.dropped(host, chain, f"after {name}") - before

    def targets(self, addresses, ports=PORTS):
        """Every address with every port."""
        return [(str(address), port) for address in addresses for port in ports]

    def into(self, node, key):
        """Probe ``node`` from a stranger; only the node's own filter stands between when ``key`` is of its zone."""
        host = self.fleet.host(node.name)
        return self.counted(
            host, "input", f"probes by {key}", lambda: tcp_probe(self.hosts[key], self.targets(node.addresses))
        )

    def out_of(self, node):
        """From ``node`` to the listener of the stranger in its own zone, and to the one outside; TCP."""
        host = self.fleet.host(node.name)
        everywhere = (*self.strangers[self.key(node)].addresses, *self.strangers[OUTSIDE].addresses)
        return self.counted(host, "output", "probes out", lambda: tcp_probe(host, self.targets(everywhere)))

    def across(self, site, key):
        """From a stranger through the site's router to every node that lies beyond it, and outside."""
        beyond = [node for node in self.topology.nodes if node.site == site and self.key(node) != key]
        addresses = [str(address) for node in beyond for address in node.addresses]
        addresses += [] if key == OUTSIDE else self.strangers[OUTSIDE].addresses
        return tcp_probe(self.hosts[key], self.targets(addresses, SERVICE_PORTS))

    def between(self, node):
        """From a node to every other node, all service ports."""
        others = [address for other in self.topology.nodes if other != node for address in other.addresses]
        return tcp_probe(self.fleet.host(node.name), self.targets(others, (*SERVICE_PORTS, 23, 445)))

    def allowed(self, source, node):
        """Ports at ``node`` that a flow opens to the address ``source``."""
        source = ip_address(source)
        return {
            pair.port
            for pair in self.topology.allowed()
            if pair.destination == node.name
            and pair.protocol == "tcp"
            and any(source in network for network in pair.source_networks)
        }

    def routers_allow(self, source, node):
        """The same as a router sees it: "the internet" is whoever is not inside."""
        inside = any(ip_address(source) in network for network in self.topology.inside)
        return {
            pair.port
            for pair in self.topology.allowed()
            if pair.destination == node.name
            and pair.protocol == "tcp"
            and any(
                ip_address(source) in network
                for network in pair.source_networks
                if not (inside and network in ANYWHERE)
            )
        }

    def run_ahead(self):
        """Ask everything at once."""
        with ThreadPoolExecutor(24) as pool:
            for node in self.topology.nodes:
                pool.submit(self._node_ahead, node)
            for site in self.topology.sites:
                pool.submit(lambda site=site: through(self, site))
                pool.submit(lambda site=site: under_foreign_names(self, site))

    def _node_ahead(self, node):
        self.out_of(node)
        self.into(node, self.key(node))
        self.between(node)


def through(sweep, site):
    """Every stranger across the router of ``site``: answers by stranger, and what the router refused meanwhile."""
    router = sweep.fleet.host(f"router-{site}")
    keys = [key for key in sweep.strangers if key == OUTSIDE or key.startswith(f"{site}-")]

    def all_of_them():
        with ThreadPoolExecutor(len(keys)) as pool:
            list(pool.map(lambda key: sweep.across(site, key), keys))
        # Asked again, from memory, so that the answers count for the test that asks.
        return {key: sweep.across(site, key) for key in keys}

    return sweep.counted(router, "forward", f"probes across {site}", all_of_them)


_BEGUN = []


@pytest.fixture(scope="session")
def _sweeps():
    made = {}
    yield made
    for future in _BEGUN:
        with contextlib.suppress(Exception):  # what could not be made is nothing to close
            future.result().close()
    for sweep in made.values():
        sweep.close()


@pytest.fixture
def sweep(fleet, topology, _sweeps):
    why = possible(topology)
    if why:
        pytest.skip(why)
    if "sweep" not in _sweeps:
        _sweeps["sweep"] = _BEGUN.pop().result() if _BEGUN else begun(fleet, topology)
    return _sweeps["sweep"]


def begun(fleet, topology):
    """A sweep with all its probes done."""
    sweep = Sweep(fleet, topology)
    sweep.run_ahead()
    return sweep


def begin(fleet, topology):
    """Called when the session has been collected (conftest.py): probe while other tests run."""
    if not possible(topology):
        _BEGUN.append(ThreadPoolExecutor(1).submit(begun, fleet, topology))


def judge_sides(answers, address_ports, where):
    """The probes' answers against the ports that may be open, by address."""
    wrong = [
        f"{address}:{port}"
        for (address, port), said in answers.items()
        if said == "open" and port not in address_ports(address)
    ]
    assert not wrong, f"{where}: open and not declared: {', '.join(wrong[:6])}"
    return sum(said != "open" for said in answers.values())


@pytest.mark.control(
    "dengbao:8.1.3.2.a",
    "dengbao:8.1.3.2.c",
    "dengbao:8.1.2.1.d",
    "dengbao:8.1.4.4.c",
    "dengbao:8.1.3.1.a",
    "iso27001:A.8.22",
)
@pytest.mark.objects("network")
@pytest.mark.behaviour
def test_a_stranger_gets_in_nowhere(sweep, subject, topology):
    """A stranger on the same segment, whom nothing else filters, and one outside reach only what is open to everybody.

    zh: 同网段与外部的陌生主机（自身不受过滤）只能到达面向所有人的端口，且每个被拒报文都由被测过滤器计数。
    """
    if is_router(subject):
        found, refused = through(sweep, site_of(subject))
        least = 0
        for key, answers in found.items():
            sources = sweep.strangers[key].addresses

            def open_ports(address, sources=sources):
                node = next((one for one in topology.nodes if ip_address(address) in one.addresses), None)
                source = next(one for one in sources if (":" in one) == (":" in address))
                return sweep.routers_allow(source, node) if node else set()

            # Ports open to the stranger may be silent because the service is down: those are not the router's refusals.
            least += judge_sides(answers, open_ports, f"from {key}") - sum(
                said != "open" and port in open_ports(address) for (address, port), said in answers.items()
            )
        assert refused >= least > 0, f"the router refused {refused} packets of {least}: something else did"
        return
    node = topology.node(subject.node)
    answers, refused = sweep.into(node, sweep.key(node))
    stranger = sweep.strangers[sweep.key(node)].addresses

    def ports(address):
        return sweep.allowed(next(one for one in stranger if (":" in one) == (":" in address)), node)

    closed = judge_sides(answers, ports, "from the same segment")
    silent_but_allowed = sum(said != "open" and port in ports(address) for (address, port), said in answers.items())
    assert refused >= closed - silent_but_allowed > 0, (
        f"the node's filter refused {refused} packets of {closed}: something else did"
    )


@pytest.mark.control("dengbao:8.1.3.1.c", "dengbao:8.1.3.2.a", "iso27001:A.8.22", "iso27001:A.8.23")
@pytest.mark.objects("network")
@pytest.mark.behaviour
def test_nothing_leaves_without_a_flow(sweep, subject, topology, host):
    """From the node to listeners that take everybody, beside it and outside: no TCP, DNS or ping gets out.

    zh: 从节点向同网段与外部的开放监听发起连接：TCP、DNS、ICMP 均不能外出。
    """
    if is_router(subject):
        found, _ = through(sweep, site_of(subject))
        outside = set(sweep.strangers[OUTSIDE].addresses)
        got_out = [
            f"{key}>{address}:{port}"
            for key, answers in found.items()
            for (address, port), said in answers.items()
            if address in outside and said == "open"
        ]
        assert not got_out, f"through the router: {', '.join(got_out[:4])}"
        # The listener outside does answer: a neighbour of it, the lab's controller, is let in.
        reached = tcp_probe(sweep.fleet.host(CONTROLLER), sweep.targets(outside, (443,)))
        assert set(reached.values()) == {"open"}, "the listener outside does not answer, so silence proves nothing"
        return
    node = topology.node(subject.node)
    answers, refused = sweep.out_of(node)
    got_out = [f"{address}:{port}" for (address, port), said in answers.items() if said == "open"]
    assert not got_out, f"got out: {', '.join(got_out[:4])}"
    assert refused >= len(answers), f"the node's filter refused {refused} packets of {len(answers)}: something else did"
    router = sweep.fleet.host(f"router-{node.site}")
    reached = tcp_probe(router, sweep.targets(sweep.strangers[sweep.key(node)].addresses, (443, 5432)))
    assert set(reached.values()) == {"open"}, "the listener beside the node does not answer, so silence proves nothing"
    sent = [
        line
        for line in ask(
            host, "datagram_probe.py", *sweep.strangers[OUTSIDE].addresses, *sweep.strangers[sweep.key(node)].addresses
        ).splitlines()
        if not line.endswith("prohibited")
    ]
    assert not sent, f"got out: {', '.join(sent)}"


@pytest.mark.control("dengbao:8.1.3.2.a", "dengbao:8.1.3.2.b", "dengbao:8.1.3.2.c", "iso27001:A.8.22")
@pytest.mark.objects("network")
@pytest.mark.behaviour
def test_every_pair_of_nodes_agrees_with_the_flows(sweep, subject, topology):
    """From each node to all others, every service port: what a flow allows connects, and nothing else does.

    zh: 逐对尝试所有节点与服务端口：仅声明的流量可连通，且每条声明的流量确实可用。
    """
    nodes = (
        [node for node in topology.nodes if node.site == site_of(subject)]
        if is_router(subject)
        else [topology.node(subject.node)]
    )
    for node in nodes:
        answers = sweep.between(node)
        for other in topology.nodes:
            if other == node or (is_router(subject) and (other.zone, other.site) == (node.zone, node.site)):
                continue
            for address in map(str, other.addresses):
                source = next(one for one in node.addresses if one.version == ip_address(address).version)
                allowed = sweep.allowed(source, other)
                for (target, port), said in answers.items():
                    if target != address:
                        continue
                    may = port in allowed
                    if said == "open":
                        assert may, f"{node.name} reaches {other.name} {address}:{port}, which no flow declares"
                    elif may and port in own_flows(topology, node, other):
                        pytest.fail(
                            f"{node.name} does not reach {other.name} {address}:{port} ({said}), a declared flow"
                        )


def own_flows(topology, node, other):
    """Ports that a flow from this very node (not from everybody) opens at ``other``: its own filter lets it out, too."""
    return {pair.port for pair in topology.allowed() if pair.source == node.name and pair.destination == other.name}


@pytest.mark.control("dengbao:8.1.2.1.c", "iso27001:A.8.22")
@pytest.mark.objects("network")
@pytest.mark.behaviour
def test_an_address_of_another_zone_is_of_no_use(sweep, subject, topology):
    """Nodes reach other zones by their router only, and the router drops a packet that claims another zone's address.

    zh: 节点只能经本区域路由器到达其他区域；冒用其他区域地址的报文被路由器丢弃。
    """
    if not is_router(subject):
        node, host = topology.node(subject.node), sweep.fleet.host(subject.node)
        networks = topology.zones[node.site, node.zone]
        for other in topology.nodes:
            if other.zone != node.zone or other.site != node.site:
                for address, gateway in zip(other.addresses, (networks.gateway, networks.gateway6), strict=False):
                    way = json.loads(host.check_output(f"ip -j route get {address}"))[0]
                    assert way.get("gateway") == str(gateway), (
                        f"{other.name} is reached by {way.get('gateway', 'no router')}"
                    )
        return
    answers, dropped = under_foreign_names(sweep, site_of(subject))
    through_it = [key for key, said in answers if said == "open"]
    assert not through_it, f"a foreign address got through from {', '.join(through_it)}"
    assert dropped >= len(answers), f"the router dropped {dropped} of {len(answers)} packets with a foreign address"


def under_foreign_names(sweep, site):
    """Every stranger of ``site`` under another zone's address to a node of each other zone: answers, and what the router dropped."""
    router = sweep.fleet.host(f"router-{site}")
    keys = [key for key in sweep.strangers if key.startswith(f"{site}-")]

    def attempt(key):
        beyond = [node.address for node in sweep.topology.nodes if node.site == site and sweep.key(node) != key]
        targets = sweep.targets(beyond or [sweep.strangers[OUTSIDE].address], (443,))
        return [
            (key, said) for said in tcp_probe(sweep.hosts[key], targets, str(sweep.strangers[key].foreign)).values()
        ]

    before = spoofed(router, "before foreign addresses")
    with ThreadPoolExecutor(len(keys)) as pool:
        list(pool.map(attempt, keys))
    answers = [answer for key in keys for answer in attempt(key)]
    return answers, spoofed(router, "after foreign addresses") - before


def spoofed(router, moment):
    """Packets with a source address of another interface that the router has dropped so far."""
    listing = json.loads(router.check_output(f"nft -j list chain inet jinku prerouting # {moment}"))["nftables"]
    return sum(
        part["counter"]["packets"]
        for entry in listing
        if "rule" in entry
        for part in entry["rule"]["expr"]
        if "counter" in part
    )


def without_session(host, chain, moment):
    """Segments of no session that ``chain`` has dropped so far."""
    listing = json.loads(host.check_output(f"nft -j list chain inet jinku {chain} # {moment}"))["nftables"]
    return sum(
        part["counter"]["packets"]
        for entry in listing
        if "rule" in entry and "tcp.flags" in matches(entry["rule"]["expr"])
        for part in entry["rule"]["expr"]
        if "counter" in part
    )


@pytest.mark.control("dengbao:8.1.3.2.d", "iso27001:A.8.20")
@pytest.mark.objects("network")
@pytest.mark.behaviour
def test_a_segment_of_no_session_is_dropped(sweep, subject, topology, host):
    """A lone ACK or piece of data, from an address and to a port where a session could be opened, is dropped and counted here.

    zh: 源地址与端口均获准、但不属于任何会话的 ACK 或数据报文，由被测过滤器丢弃并计数。
    """
    router = is_router(subject)
    # Through a router of the source's own site, for it is the first on the way.
    here = {node.name for node in topology.nodes if node.site == site_of(subject)}
    names = {node.name for node in topology.nodes}
    pair = next(
        pair
        for pair in topology.allowed()
        if pair.protocol == "tcp"
        and (
            pair.source in here and pair.destination in names
            if router
            else pair.destination == subject.node and pair.source != INTERNET
        )
    )
    node = topology.node(pair.destination)
    # To a node, a stranger on its segment takes the allowed name: no filter but the node's own stands between. To a
    # router the true source sends, for a router drops a wrong name before it looks at the session.
    sender = sweep.fleet.host(pair.source) if router else sweep.hosts[sweep.key(node)]
    sources = [
        next(str(network[0]) for network in pair.source_networks if network.version == address.version)
        for address in node.addresses
    ]
    words = [
        f"{source},{address},{pair.port},{flags}"
        for source, address in zip(sources, node.addresses, strict=True)
        for flags in (0x10, 0x18)
    ]
    chain = "forward" if router else "input"
    before = without_session(host, chain, "before lone segments")
    ask(sender, "stray_segments.py", *words)
    dropped = without_session(host, chain, "after lone segments") - before
    assert dropped >= len(words), f"{len(words) - dropped} of {len(words)} segments of no session were not dropped"


# -- what listens -----------------------------------------------------------------------------------------------------


@pytest.mark.control("dengbao:8.1.4.4.b", "iso27001:A.8.9")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_what_listens_is_declared(host, subject, topology):
    """Every socket that waits for others, on any address but loopback, is a declared service of the node's tiers.

    zh: 除回环外的每个监听端口都是该节点所在层声明的服务。
    """
    node = topology.node(subject.node)
    declared = {
        (service.protocol, service.port)
        for service in SERVICES.values()
        if service.where == "hosts" or service.where in node.tiers
    }
    strange = [
        f"{program or '?'} on {address}:{port}/{protocol}"
        for (protocol, address, port), program in listeners(host).items()
        if (protocol, port) not in declared
    ]
    assert not strange, f"undeclared: {', '.join(strange)}"


@pytest.mark.control("dengbao:8.1.4.4.b", "iso27001:A.8.9")
@pytest.mark.objects("host")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_dangerous_ports_are_closed(host, subject, topology):
    """File shares, remote desktops, clear-text logins and open data stores: tried from the host itself, past its filter.

    zh: 从主机自身（绕过过滤）尝试共享、远程桌面、明文登录与无口令数据服务端口，均已关闭。
    """
    node = topology.node(subject.node)
    answers = tcp_probe(host, [(str(address), port) for address in node.addresses for port in (*DANGEROUS, 22)])
    opened = [f"{address}:{port}" for (address, port), said in answers.items() if said == "open" and port != 22]
    assert not opened, f"open: {', '.join(opened)}"
    assert all(answers[str(address), 22] == "open" for address in node.addresses), (
        "not even ssh answers, so closed proves nothing"
    )


SABOTAGE = (
    Sabotage(
        "a node lets everybody in",
        on="network",
        breaks="nft insert rule inet jinku input accept",
        mends="systemctl restart jinku-firewall.service",
        kills=(
            "test_the_loaded_filter_is_the_rendered_one",
            "test_a_stranger_gets_in_nowhere",
            "test_what_no_rule_allows_is_denied",
        ),
    ),
    Sabotage(
        "a node lets everybody in, by IPv6 only and to one port",
        on="network",
        breaks="nft insert rule inet jinku input meta nfproto ipv6 tcp dport 22 accept",
        mends="systemctl restart jinku-firewall.service",
        kills=("test_the_loaded_filter_is_the_rendered_one", "test_a_stranger_gets_in_nowhere"),
    ),
    Sabotage(
        "a node lets everything out",
        on="network",
        breaks="nft insert rule inet jinku output accept",
        mends="systemctl restart jinku-firewall.service",
        kills=("test_the_loaded_filter_is_the_rendered_one", "test_nothing_leaves_without_a_flow"),
    ),
    Sabotage(
        "a rule of a node forgets the source and the state",
        on="network",
        breaks="nft 'insert rule inet jinku input tcp dport 22 accept comment \"bastion>ssh\"'",
        mends="systemctl restart jinku-firewall.service",
        kills=(
            "test_each_rule_names_source_destination_protocol_and_port",
            "test_rules_know_the_state_of_a_session",
            "test_a_stranger_gets_in_nowhere",
            "test_a_segment_of_no_session_is_dropped",
        ),
    ),
    Sabotage(
        "a declared flow is cut",
        on="network",
        breaks="nft insert rule inet jinku output tcp dport 6514 reject",
        mends="systemctl restart jinku-firewall.service",
        kills=("test_every_pair_of_nodes_agrees_with_the_flows", "test_the_loaded_filter_is_the_rendered_one"),
    ),
    Sabotage(
        "a node forwards, and has an address of another zone",
        on="network",
        breaks="sysctl -qw net.ipv4.ip_forward=1 && ip addr add 10.250.0.1/24 dev eth0"
        " && ip route add $(getent ahostsv4 crm1 | awk 'NR == 1 {print $1}') dev eth0 scope link",
        mends="ip route del $(getent ahostsv4 crm1 | awk 'NR == 1 {print $1}') dev eth0; ip addr del 10.250.0.1/24 dev eth0;"
        " sysctl -qw net.ipv4.ip_forward=0",
        kills=(
            "test_only_the_router_stands_in_two_zones",
            "test_addresses_lie_in_the_declared_zones",
            "test_an_address_of_another_zone_is_of_no_use",
        ),
    ),
    Sabotage(
        "the router lets everything through",
        on="network",
        victim="router-a",
        breaks="nft insert rule inet jinku forward accept",
        mends="nft delete rule inet jinku forward handle $(nft -a list chain inet jinku forward | awk '$1 == \"accept\" {print $NF}')",
        kills=(
            "test_the_loaded_filter_is_the_rendered_one",
            "test_nothing_leaves_without_a_flow",
            "test_what_no_rule_allows_is_denied",
        ),
    ),
    Sabotage(
        "the router believes any source address",
        on="network",
        victim="router-a",
        breaks="nft insert rule inet jinku prerouting accept",
        mends="nft delete rule inet jinku prerouting handle $(nft -a list chain inet jinku prerouting | awk '$1 == \"accept\" {print $NF}')",
        kills=("test_the_loaded_filter_is_the_rendered_one", "test_an_address_of_another_zone_is_of_no_use"),
    ),
    Sabotage(
        "a telnet port that nobody declared",
        on="host",
        breaks="systemd-run -q --unit sabotage-telnet python3 -m http.server 23 --bind ::",
        mends="systemctl stop sabotage-telnet",
        kills=("test_what_listens_is_declared", "test_dangerous_ports_are_closed"),
        settle=1.0,
    ),
)
