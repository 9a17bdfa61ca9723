# SPDX-License-Identifier: Apache-2.0
"""Who may talk to whom: the loaded packet filters, and every pair tried, IPv4 and IPv6, also by strangers.

A probe can agree for the wrong reason (a source's own filter drops the packet first). So each way in is tried by a
stranger that no filter holds back, each way out leads to a listener that takes everybody, and the counter of the filter
under test must have counted every refused packet. In a site's router likewise.
"""

import json
from functools import cache
from ipaddress import ip_address as _parsed

import pytest
from asking import ask, tcp_probe
from faults.probes import OUTSIDE
from faults.sweep import judge_sides, own_flows, through, under_foreign_names
from filters import accepting, is_router, loaded, matches, rendered, rules, site_of, without_counters, without_session
from sabotage.network import SABOTAGE

from jinku.evidence.fleet import CONTROLLER
from jinku.model.topology import INTERNET

ip_address = cache(_parsed)  # a few addresses, asked for thousands of times
__all__ = ["SABOTAGE"]  # what breaks these tests, found here by its runner


@pytest.mark.control(
    "dengbao:8.1.3.2.b",
    "dengbao:8.1.2.1.d",
    "dengbao:8.1.4.4.c",
    "dengbao:8.1.10.6.j",
    "iso27001:A.8.20",
    "iso27001:A.8.9",
)
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


@pytest.mark.control(
    "dengbao:8.1.3.2.a", "dengbao:8.1.3.1.c", "dengbao:8.1.3.3.a", "dengbao:8.1.3.3.b", "iso27001:A.8.20"
)
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


@pytest.mark.control("dengbao:8.1.3.2.c", "dengbao:8.1.3.1.b", "iso27001:A.8.20")
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


@pytest.mark.control(
    "dengbao:8.1.3.2.a",
    "dengbao:8.1.3.2.c",
    "dengbao:8.1.2.1.d",
    "dengbao:8.1.4.4.c",
    "dengbao:8.1.3.1.a",
    "dengbao:8.1.3.3.a",
    "dengbao:8.1.3.3.b",
    "dengbao:8.1.3.1.b",
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


@pytest.mark.control(
    "dengbao:8.1.3.1.c", "dengbao:8.1.3.2.a", "dengbao:8.1.10.6.j", "iso27001:A.8.22", "iso27001:A.8.23"
)
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
    # The lab's router asks; elsewhere the probe itself, for its neighbours are all filtered.
    lab = topology.env.backend == "lab"
    neighbour = sweep.fleet.host(f"router-{node.site}") if lab else sweep.hosts[sweep.key(node)]
    reached = tcp_probe(neighbour, sweep.targets(sweep.strangers[sweep.key(node)].addresses, (443, 5432)))
    assert set(reached.values()) == {"open"}, "the listener beside the node does not answer, so silence proves nothing"
    sent = [
        line
        for line in ask(host, "datagram_probe.py", *sweep.everywhere(node)).splitlines()
        if not line.endswith("prohibited")
    ]
    assert not sent, f"got out: {', '.join(sent)}"


@pytest.mark.control("dengbao:8.1.3.2.a", "dengbao:8.1.3.2.b", "dengbao:8.1.3.2.c", "iso27001:A.8.22")
@pytest.mark.objects("network")
@pytest.mark.behaviour
def test_every_pair_of_nodes_agrees_with_the_flows(pairs, subject, topology):
    """From each node to all others, every service port: what a flow allows connects, and nothing else does.

    zh: 逐对尝试所有节点与服务端口：仅声明的流量可连通，且每条声明的流量确实可用。
    """
    nodes = (
        [node for node in topology.nodes if node.site == site_of(subject)]
        if is_router(subject)
        else [topology.node(subject.node)]
    )
    for node in nodes:
        answers = pairs.between(node)
        for other in topology.nodes:
            if other == node or (is_router(subject) and (other.zone, other.site) == (node.zone, node.site)):
                continue
            for address in map(str, other.addresses):
                source = next((one for one in node.addresses if one.version == ip_address(address).version), None)
                if source is None:  # a site may have IPv4 alone
                    continue
                allowed = pairs.allowed(source, other)
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


@pytest.mark.control("dengbao:8.1.2.1.c", "iso27001:A.8.22")
@pytest.mark.objects("network")
@pytest.mark.behaviour
def test_an_address_of_another_zone_is_of_no_use(request, pairs, subject, topology):
    """Nodes reach other zones by their router only, and the router drops a packet that claims another zone's address.

    zh: 节点只能经本区域路由器到达其他区域；冒用其他区域地址的报文被路由器丢弃。
    """
    if not is_router(subject):
        node, host = topology.node(subject.node), pairs.fleet.host(subject.node)
        networks = topology.zones[node.site, node.zone]
        for other in topology.nodes:
            if other.zone != node.zone or other.site != node.site:
                for address, gateway in zip(other.addresses, (networks.gateway, networks.gateway6), strict=False):
                    if gateway is None:  # this site has IPv4 alone
                        continue
                    way = json.loads(host.check_output(f"ip -j route get {address}"))[0]
                    assert way.get("gateway") == str(gateway), (
                        f"{other.name} is reached by {way.get('gateway', 'no router')}"
                    )
        return
    sweep = request.getfixturevalue("sweep")
    answers, dropped = under_foreign_names(sweep, site_of(subject))
    through_it = [key for key, said in answers if said == "open"]
    assert not through_it, f"a foreign address got through from {', '.join(through_it)}"
    assert dropped >= len(answers), f"the router dropped {dropped} of {len(answers)} packets with a foreign address"


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
    words = [
        f"{network[0]},{address},{pair.port},{flags}"
        for address in node.addresses
        for network in pair.source_networks
        if network.version == address.version
        for flags in (0x10, 0x18)
    ]
    chain = "forward" if router else "input"
    before = without_session(host, chain, "before lone segments")
    ask(sender, "stray_segments.py", *words)
    dropped = without_session(host, chain, "after lone segments") - before
    assert dropped >= len(words), f"{len(words) - dropped} of {len(words)} segments of no session were not dropped"
