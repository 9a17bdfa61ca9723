# SPDX-License-Identifier: Apache-2.0
"""A host of the lab: made, restarted, killed, replaced. The tests build on one another, in their order."""

import asyncio
import os
import subprocess

import pytest
from provider_world import ENV, NETWORK, ROUTER, VOLUME

from stacks.provider.lab import cgroups, hosts, leftovers, names
from stacks.provider.lab.process import LabError

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes hosts")]


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
