# SPDX-License-Identifier: Apache-2.0
"""Volumes that hold data, steps that fail, and the removal of everything. The tests build on one another, in their order."""

import asyncio
import json
import os

import pytest
from provider_world import ENV, NETWORK, ROUTER, VOLUME

from stacks.provider.lab import cgroups, hosts, images, leftovers, links, names, outside
from stacks.provider.lab.process import LabError

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes hosts")]


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
