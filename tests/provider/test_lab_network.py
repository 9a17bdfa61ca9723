# SPDX-License-Identifier: Apache-2.0
"""Networks, their routers and namespaces: broken by hand, seen and mended. The tests build on one another, in their order."""

import asyncio
import os
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from provider_world import ENV, NETWORK, PERMISSIVE, ROUTER

from stacks.provider.lab import leftovers, links, mirror, names, outside
from stacks.provider.lab.process import LabError

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes hosts")]


@pytest.mark.usefixtures("host")
class TestANetwork:
    def test_removed_by_hand_is_seen_and_mended(self, engine, host, ssh):
        subprocess.run(["ip", "-n", names.switch(ENV, "a"), "link", "del", "dev", "data"], check=True)
        assert engine.read("Network", NETWORK) == {}
        assert engine.read("Host", host)["state"] == "disconnected"
        engine.create("Network", NETWORK)
        assert engine.read("Host", host)["state"] == "running"
        assert ssh(host, "hostname") == "db1"

    def test_and_its_switch_removed_by_hand_are_mended(self, engine, host, inputs, ssh):
        subprocess.run(["ip", "netns", "del", names.switch(ENV, "a")], check=True)
        assert engine.read("Router", ROUTER)["state"] == "broken"
        assert engine.read("Host", host)["state"] == "disconnected"
        engine.create("Network", NETWORK)
        assert engine.update("Router", ROUTER, ROUTER)["state"] == "running"
        assert engine.update("Host", host, inputs)["state"] == "running"
        assert ssh(host, "hostname") == "db1"


@pytest.mark.usefixtures("host")
class TestNamespaces:
    def test_can_be_removed_after_somebody_has_made_one_by_hand(self):
        """The first `ip netns add` of a machine mounts the folder upon itself; over our mounts, that would hide them for good."""
        assert links.mounted()
        before = sorted(path.name for path in links.NETNS.iterdir())
        subprocess.run(["ip", "netns", "add", f"{names.prefix(ENV)}PROBE.x"], check=True)
        asyncio.run(links.remove_netns(f"{names.prefix(ENV)}PROBE.x"))
        seen = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        assert seen.count(str(links.NETNS)) == 1
        assert sorted(path.name for path in links.NETNS.iterdir()) == before


@pytest.mark.usefixtures("host")
class TestARouter:
    def test_whose_addresses_or_routes_were_changed_by_hand_is_seen_and_mended(self, engine):
        inside = ["ip", "-n", names.router(ENV, "a")]
        changes = (
            [*inside, "addr", "del", "10.197.0.1/27", "dev", "data"],
            [*inside, "addr", "add", "10.197.0.30/27", "dev", "data"],
            ["ip", "route", "del", "10.197.0.0/27"],
        )
        for change in changes:
            subprocess.run(change, check=True)
            assert engine.read("Router", ROUTER)["state"] == "broken", change
            assert engine.update("Router", {**ROUTER, "state": "broken"}, ROUTER)["state"] == "running"

    def test_whose_packet_filter_was_changed_by_hand_is_seen_and_mended(self, engine):
        inside = ["nsenter", f"--net=/run/netns/{names.router(ENV, 'a')}"]
        subprocess.run([*inside, "nft", "flush", "ruleset"], check=True)
        seen = engine.read("Router", ROUTER)
        assert seen["state"] == "broken"
        assert engine.diff("Router", seen, ROUTER).changes
        assert engine.update("Router", seen, ROUTER)["state"] == "running"

    def test_keeps_its_old_packet_filter_when_the_new_one_is_wrong(self, engine):
        with pytest.raises(LabError, match="nft"):
            engine.update("Router", ROUTER, {**ROUTER, "ruleset": PERMISSIVE + "nonsense\n"})
        assert engine.read("Router", ROUTER)["state"] == "running"

    def test_replaces_its_packet_filter_without_losing_a_connection(self, engine, host, ssh):
        closed = PERMISSIVE.replace("priority 0;", "priority 0; policy drop; ct state established accept;")
        engine.update("Router", ROUTER, {**ROUTER, "ruleset": closed})
        with pytest.raises(TimeoutError):
            socket.create_connection(("10.197.0.4", 22), timeout=2)
        engine.update("Router", ROUTER, ROUTER)
        assert ssh(host, "hostname") == "db1"

    def test_runs_a_mirror_that_refuses_what_is_no_package_source(self):
        proxy = urllib.request.build_opener(urllib.request.ProxyHandler({"http": "http://172.29.197.1:3142"}))
        with pytest.raises(urllib.error.HTTPError) as refused:
            proxy.open("http://127.0.0.1/", timeout=10)
        assert refused.value.code == 403

    def test_says_when_another_program_has_the_mirrors_port(self, engine):
        asyncio.run(mirror.DAEMON.remove(ENV))
        assert engine.read("Router", ROUTER)["state"] == "broken"
        with socket.create_server(("172.29.197.1", mirror.PORT)), pytest.raises(LabError, match="another program has"):
            engine.update("Router", ROUTER, ROUTER)
        assert engine.update("Router", ROUTER, ROUTER)["state"] == "running"

    def test_does_not_take_a_network_from_the_machine(self, engine):
        """A second environment with the same networks is such a case."""
        with pytest.raises(LabError, match=r"10\.197\.0\.0/27: this machine reaches .* by "):
            engine.create("Router", {**ROUTER, "env": "provider-test-2"})
        assert asyncio.run(leftovers.leftovers("provider-test-2")) == {}

    def test_is_reached_by_a_stranger_on_the_wan(self):
        route = "10.197.0.0/27 via 172.29.197.2"
        netns = asyncio.run(outside.ensure_stranger(ENV, "internet", "172.29.197.66/24", "fd97:ff::66/64", (route,)))
        inside = ["nsenter", f"--net=/run/netns/{netns}"]
        subprocess.run(
            [*inside, "bash", "-c", "exec 3<>/dev/tcp/10.197.0.4/22 && head -c 7 <&3"], check=True, timeout=10
        )
