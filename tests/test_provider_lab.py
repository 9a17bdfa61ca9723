# SPDX-License-Identifier: Apache-2.0
"""The provider on this machine: one small environment of its own, made, broken by hand, mended and removed.

The tests of a class build on one another, in their order: making the environment anew for each would only cost time.
"""

import asyncio
import json
import os
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from pulumi.provider.experimental import provider as protocol

from jinku.places import cache_root
from stacks.provider.lab import cgroups, hosts, images, leftovers, links, mirror, names, outside
from stacks.provider.lab.process import LabError
from stacks.provider.progress import Progress
from stacks.provider.server import LabProvider
from stacks.provider.values import plain_map, wrapped_map

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes hosts")]

ENV = "provider-test"
PERMISSIVE = "table inet jinku\ndelete table inet jinku\ntable inet jinku {\n chain forward {\n  type filter hook forward priority 0;\n }\n}\n"
ROUTER = {
    "env": ENV,
    "site": "a",
    "wan_address": "172.29.197.2/24",
    "wan_address6": "fd97:ff::2/64",
    "zones": [
        {"zone": "data", "address": "10.197.0.1/27", "address6": "fd97:a::1/64"},
        {"zone": "link", "address": "10.197.0.33/27", "address6": ""},  # a zone may have an awkward name
    ],
    "ruleset": PERMISSIVE,
}
NETWORK = {"env": ENV, "site": "a", "zone": "data", "network": "10.197.0.0/27", "network6": "fd97:a::/64"}
VOLUME = {"env": ENV, "site": "a", "name": "db1-data", "size_gib": 1, "disposable": False}


class Engine:
    """Asks the provider what Pulumi's engine would ask."""

    def __init__(self):
        self.provider = LabProvider(Progress(""))

    @staticmethod
    def urn(kind):
        return f"urn:pulumi:s::p::jinku:index:Site$jinku:lab:{kind}::x"

    def create(self, kind, inputs, *, preview=False):
        request = protocol.CreateRequest(self.urn(kind), wrapped_map(inputs), 0, preview)
        return plain_map(asyncio.run(self.provider.create(request)).properties)

    def read(self, kind, state):
        request = protocol.ReadRequest(self.urn(kind), "id", wrapped_map(state), {})
        return plain_map(asyncio.run(self.provider.read(request)).properties)

    def diff(self, kind, state, inputs):
        request = protocol.DiffRequest(self.urn(kind), "id", wrapped_map(state), wrapped_map(inputs), [])
        return asyncio.run(self.provider.diff(request))

    def update(self, kind, state, inputs):
        request = protocol.UpdateRequest(
            self.urn(kind), "id", wrapped_map(state), wrapped_map(inputs), 0, [], preview=False
        )
        return plain_map(asyncio.run(self.provider.update(request)).properties)

    def delete(self, kind, state):
        asyncio.run(self.provider.delete(protocol.DeleteRequest(self.urn(kind), "id", wrapped_map(state), 0)))


def machine():
    """What of the machine must be as before, without what other environments may be doing at the same time."""
    ours = names.prefix(ENV)

    def lines(*command):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    return {
        "links": [
            line
            for line in lines("ip", "-br", "link")
            if "jk-provider" in line or names.controller_interface(ENV) in line
        ],
        "routes": [line for line in lines("ip", "route") if "10.197." in line or "172.29.197." in line],
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if ours in line],
        "cgroups": cgroups.found(ours),
        "nft": lines("nft", "list", "ruleset"),
        "forwarding": lines("sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"),
    }


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    state = tmp_path_factory.mktemp("state")
    before = machine()
    old = os.environ.get("JINKU_STATE_DIR")
    os.environ["JINKU_STATE_DIR"] = str(state)
    try:
        yield Engine()
        asyncio.run(leftovers.sweep(ENV, with_volumes=True))
        assert asyncio.run(leftovers.leftovers(ENV)) == {}
        assert machine() == before
    finally:
        asyncio.run(leftovers.sweep(ENV, with_volumes=True))
        os.environ.pop("JINKU_STATE_DIR")
        if old is not None:
            os.environ["JINKU_STATE_DIR"] = old


@pytest.fixture(scope="module")
def image(engine):
    return engine.create("Image", {"name": "base", "suite": "trixie", "cache": str(cache_root()), "packages": []})


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def inputs(image, key):
    return {
        "env": ENV,
        "site": "a",
        "name": "db1",
        "fqdn": "db1.provider.internal",
        "zone": "data",
        "image": image["path"],
        "address": "10.197.0.4/27",
        "gateway": "10.197.0.1",
        "address6": "fd97:a::4/64",
        "gateway6": "fd97:a::1",
        "volumes": [{"name": "db1-data", "mount": "/var/lib/data"}],
        "automation_key": key.with_suffix(".pub").read_text().strip(),
        "mirror": "172.29.197.1",
    }


@pytest.fixture
def ssh(key, tmp_path):
    def run(state, command, address="10.197.0.4"):
        known = tmp_path / "known_hosts"
        known.write_text(f"db1 {state['ssh_host_key']}\n")
        options = ["HostKeyAlias=db1", f"UserKnownHostsFile={known}", "StrictHostKeyChecking=yes", "BatchMode=yes"]
        words = [word for option in options for word in ("-o", option)]
        words = [
            "ssh",
            "-F",
            "none",
            "-i",
            str(key),
            "-o",
            "ConnectTimeout=10",
            *words,
            f"automation@{address}",
            command,
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture(scope="module")
def host(engine, inputs):
    engine.create("Router", ROUTER)
    engine.create("Network", NETWORK)
    engine.create("Volume", VOLUME)
    return engine.create("Host", inputs)


def test_a_preview_touches_nothing(engine, inputs):
    for kind, values in (("Router", ROUTER), ("Network", NETWORK), ("Volume", VOLUME), ("Host", inputs)):
        engine.create(kind, values, preview=True)
    assert asyncio.run(leftovers.leftovers(ENV)) == {}


class TestAHost:
    def test_is_reached_with_the_key_that_was_reported(self, host, ssh):
        assert host["state"] == "running"
        assert ssh(host, "hostname -f") == "db1.provider.internal"
        assert ssh(host, "hostname", "fd97:a::4") == "db1"

    def test_has_an_account_without_password_that_may_do_anything(self, host, ssh):
        assert ssh(host, "sudo -n id -u") == "0"
        assert ssh(host, "sudo passwd -S automation").split()[1] == "L"

    def test_loads_its_own_packet_filter_and_network_parameters(self, host, ssh):
        assert "probe" in ssh(
            host, "sudo nft add table inet probe && sudo nft list tables && sudo nft delete table inet probe"
        )
        assert (
            ssh(
                host,
                "sudo sysctl -qw net.ipv4.conf.all.log_martians=1 && sudo sysctl -n net.ipv4.conf.all.log_martians",
            )
            == "1"
        )
        assert (
            "inet probe"
            not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        )

    def test_cannot_touch_the_kernel_it_shares(self, host, ssh):
        assert ssh(host, "sudo sysctl -w kernel.kptr_restrict=0 2>&1 || echo refused").endswith("refused")

    def test_fetches_packages_through_the_mirror(self, host, ssh):
        assert "InRelease" in ssh(host, "sudo apt-get update 2>&1")

    def test_keeps_machine_id_address_and_data_over_its_own_reboot(self, engine, host, inputs, ssh):
        ssh(host, "echo kept | sudo tee /var/lib/data/mark")
        before = ssh(host, "cat /etc/machine-id /proc/sys/kernel/random/boot_id").split()
        ssh(host, "sudo sh -c '(sleep 0.5; systemctl reboot) > /dev/null 2>&1 &'")
        for _ in range(60):
            try:
                after = ssh(host, "cat /etc/machine-id /proc/sys/kernel/random/boot_id").split()
            except AssertionError:
                after = before
            if after[1] != before[1]:
                break
            subprocess.run(["sleep", "0.5"], check=True)
        assert after[0] == before[0]
        assert after[1] != before[1]
        assert ssh(host, "cat /var/lib/data/mark") == "kept"
        assert engine.read("Host", {**inputs, **host})["state"] == "running"

    def test_is_not_changed_by_a_second_run(self, engine, host, inputs):
        seen = engine.read("Host", host)
        assert seen == {**host, "interface": "eth0"}
        assert engine.diff("Host", seen, inputs).changes is False

    def test_that_was_killed_is_seen_and_started_again(self, engine, host, inputs, ssh):
        asyncio.run(cgroups.kill(names.host(ENV, "a", "db1")))
        seen = engine.read("Host", host)
        assert seen["state"] == "stopped"
        answer = engine.diff("Host", seen, inputs)
        assert answer.changes
        assert not answer.replaces
        assert engine.update("Host", seen, inputs)["state"] == "running"
        assert ssh(host, "cat /var/lib/data/mark") == "kept"

    def test_is_stopped_and_started_by_name(self, engine, host, ssh):
        asyncio.run(hosts.stop_node(ENV, "db1"))
        assert engine.read("Host", host)["state"] == "stopped"
        asyncio.run(hosts.start_node(ENV, "db1"))
        assert ssh(host, "hostname") == "db1"
        with pytest.raises(LabError, match="db9: no host"):
            asyncio.run(hosts.stop_node(ENV, "db9"))

    def test_takes_a_new_key_in_place(self, engine, host, inputs, ssh):
        machine_id = ssh(host, "cat /etc/machine-id")
        extra = inputs["automation_key"] + "\n" + inputs["automation_key"].replace("@", "-second@")
        assert engine.update("Host", host, {**inputs, "automation_key": extra})["state"] == "running"
        assert ssh(host, "wc -l < ~/.ssh/authorized_keys") == "2"
        assert ssh(host, "cat /etc/machine-id") == machine_id
        engine.update("Host", host, inputs)

    def test_that_is_replaced_finds_its_volume(self, engine, host, inputs, ssh):
        engine.delete("Host", host)
        assert engine.read("Host", host) == {}
        host |= engine.create("Host", inputs)
        assert ssh(host, "cat /var/lib/data/mark") == "kept"


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
        asyncio.run(mirror.remove(ENV))
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


@pytest.mark.usefixtures("host")
class TestAVolume:
    def test_is_not_deleted_unless_it_is_disposable(self, engine):
        with pytest.raises(LabError, match="disposable: true"):
            engine.delete("Volume", VOLUME)
        assert engine.read("Volume", VOLUME) == VOLUME

    def test_grows_only_while_nobody_uses_it(self, engine, host, ssh):
        larger = {**VOLUME, "size_gib": 2}
        with pytest.raises(LabError, match="a running host uses it"):
            engine.update("Volume", VOLUME, larger)
        asyncio.run(hosts.stop_node(ENV, "db1"))
        engine.update("Volume", VOLUME, larger)
        assert engine.read("Volume", larger)["size_gib"] == 2
        with pytest.raises(LabError, match="a larger size would be right"):
            engine.update("Volume", larger, VOLUME)
        asyncio.run(hosts.start_node(ENV, "db1"))
        assert ssh(host, "cat /var/lib/data/mark") == "kept"


@pytest.mark.usefixtures("host")
class TestAFailure:
    def test_of_a_host_without_its_volume_leaves_nothing_and_can_be_retried(self, engine, inputs):
        second = {**inputs, "name": "db2", "address": "10.197.0.5/27", "address6": "fd97:a::5/64"}
        second |= {"volumes": [{"name": "db2-data", "mount": "/data"}]}
        with pytest.raises(LabError, match="db2-data: not at site a"):
            engine.create("Host", second)
        assert "a/db2" not in asyncio.run(leftovers.leftovers(ENV))["hosts"]
        created = engine.create("Host", {**second, "volumes": []})
        assert created["state"] == "running"
        engine.delete("Host", created)

    def test_of_a_boot_shows_the_console_and_leaves_nothing(self, engine, inputs, tmp_path):
        broken = tmp_path / "images/broken"
        (broken / "root/etc").mkdir(parents=True)
        (broken / "root/usr").mkdir()
        (broken / "root/etc/passwd").write_text(
            "root:x:0:0::/root:/bin/sh\nautomation:x:1000:1000::/home/automation:/bin/sh\n"
        )
        (broken / "root/etc/os-release").write_text("ID=nothing\n")
        (broken / "image.json").write_text(json.dumps({"layers": ["broken"]}))
        dead = {**inputs, "name": "db3", "image": str(broken), "volumes": [], "address": "10.197.0.6/27"}
        with pytest.raises(LabError, match=r"db3: died while booting: .+"):
            engine.create("Host", dead)
        left = asyncio.run(leftovers.leftovers(ENV))
        assert not [item for items in left.values() for item in items if "db3" in item]

    def test_of_pulumi_before_it_noted_a_host_down_keeps_that_host(self, engine, host, inputs, ssh):
        boot = ssh(host, "cat /proc/sys/kernel/random/boot_id")
        assert engine.create("Host", inputs) == host
        assert ssh(host, "cat /proc/sys/kernel/random/boot_id") == boot

    def test_of_the_machine_leaves_hosts_that_start_again(self, engine, host, inputs, ssh):
        """A restart of the machine takes namespaces, mounts, cgroups and processes; the files stay."""
        asyncio.run(cgroups.kill(names.host(ENV, "a", "db1")))
        for path in links.NETNS.glob(f"{names.prefix(ENV)}*"):
            asyncio.run(links.remove_netns(path.name))
        asyncio.run(outside.remove(ENV))
        assert engine.read("Router", ROUTER) == {}
        assert engine.read("Network", NETWORK) == {}
        seen = engine.read("Host", host)
        assert seen["state"] == "stopped"
        engine.create("Router", ROUTER)
        engine.create("Network", NETWORK)
        assert engine.update("Host", seen, inputs)["state"] == "running"
        assert ssh(host, "cat /var/lib/data/mark") == "kept"

    def test_of_a_builder_leaves_no_image(self, tmp_path):
        cache = tmp_path / "cache"
        recipe = images.Recipe("no-such-suite", images.SYSTEM)
        with pytest.raises(LabError):
            asyncio.run(images.ensure(cache, recipe))
        assert [path.name for path in (cache / "images").iterdir() if not path.name.endswith(".lock")] == []


def test_removal_in_pulumis_order_leaves_nothing(engine, host):
    engine.delete("Host", host)
    engine.delete("Network", NETWORK)
    engine.delete("Router", ROUTER)
    engine.delete("Network", {**NETWORK, "zone": "link"})
    engine.delete("Volume", {**VOLUME, "disposable": True})
    assert asyncio.run(leftovers.leftovers(ENV)) == {}
    for kind, values in (("Host", host), ("Network", NETWORK), ("Router", ROUTER), ("Volume", VOLUME)):
        engine.delete(kind, values)  # again: what is gone is gone
