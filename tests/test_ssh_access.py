# SPDX-License-Identifier: Apache-2.0
"""The way in: keys, configuration, known hosts; and what `status` makes of hosts that do not answer."""

import json
import subprocess
import tempfile
from pathlib import Path

import pytest

from jinku import ssh_access, status
from jinku.model import Topology, load_environment
from jinku.places import Places

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKxiqn6nUdMwOAF7rKMLs8uUoDoVkjSoSV5Upx1VGdVf"


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    return Places("lab")


@pytest.fixture
def topology():
    return Topology.of(load_environment("lab"))


def effective(places, node):
    """What OpenSSH itself makes of the configuration, as a dict of lower-case keys."""
    done = subprocess.run(["ssh", "-F", places.ssh_config, "-G", node], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_every_node_is_reached_through_the_bastion_with_a_known_key(places, topology):
    ssh_access.write(topology, places, {node.name: KEY for node in topology.nodes})
    inside = effective(places, "db1")
    assert inside["hostname"] == "10.77.0.68"
    assert inside["proxyjump"] == "ops1"
    assert inside["user"] == "automation"
    assert inside["stricthostkeychecking"] == "true"
    assert inside["userknownhostsfile"] == str(places.known_hosts)
    assert "proxyjump" not in effective(places, "ops1")
    assert f"db1 {KEY}\n" in places.known_hosts.read_text()


def test_the_state_is_for_its_owner_only_whoever_made_it(places):
    places.reports.mkdir(parents=True)
    places.state.chmod(0o755)
    places.make()
    folders = (places.state, places.ssh, places.pki, places.vault, places.reports)
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


def test_a_site_that_is_down_keeps_its_known_keys(places, topology):
    ssh_access.write(topology, places, {node.name: KEY for node in topology.nodes})
    ssh_access.write(topology, places, {})
    assert f"aud2 {KEY}\n" in places.known_hosts.read_text()


def test_keys_are_made_once_and_readable_by_their_owner_only(places, topology):
    first = ssh_access.ensure_automation_key(places)
    assert ssh_access.ensure_automation_key(places) == first
    assert places.automation_key.stat().st_mode & 0o777 == 0o600
    derived = subprocess.run(
        ["ssh-keygen", "-y", "-f", places.automation_key], capture_output=True, text=True, check=True
    )
    assert derived.stdout.split()[:2] == first.split()[:2]
    assert set(ssh_access.ensure_operator_keys(topology, places)) == {"li-na", "wang-fang", "zhang-wei"}


def test_sockets_fit_into_the_kernels_limit_and_nobody_else_can_make_them(monkeypatch, tmp_path, topology):
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / ("long" * 30)))
    with tempfile.TemporaryDirectory() as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        places = Places("lab")
        ssh_access.write(topology, places, {})
        path = effective(places, "db1")["controlpath"]
        assert len(path) + 17 <= 107
        folder = Path(path).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        folder.rmdir()
        folder.symlink_to(tmp_path)
        with pytest.raises(PermissionError):
            ssh_access.write(topology, places, {})


def test_a_host_that_does_not_answer_is_told_and_does_not_hide_the_others(places, topology):
    ssh_access.write(topology, places, {node.name: KEY for node in topology.nodes})
    nowhere = places.ssh_config.read_text().replace("ProxyJump ops1", "Port 1")
    for node in topology.nodes:
        nowhere = nowhere.replace(f"HostName {node.address}\n", "HostName 127.0.0.1\n  Port 1\n")
    places.ssh_config.write_text(nowhere)
    seen = {node.name: node for node in status.look(topology, places)}
    assert len(seen) == len(topology.nodes)
    assert not seen["db1"].healthy
    assert "refused" in seen["db1"].error
    assert {"ssh", "postgres"} <= seen["db1"].services.keys()
    assert not any(seen["db1"].services.values())


PRIMARY = '---\n---\n---\n---\n{"schema": "jinku/postgres/1", "role": "primary", "running": true, "timeline": 1}\n'


def up(topology, node):
    """What a node says on which every service listens, up to its volumes."""
    lines = "".join(f"{one.protocol} 0.0.0.0:{one.port}\n" for one in status.services_of(topology, node))
    return f"running\n---\n---\n{lines}---\nTue 2026-11-24 02:00:00 UTC\n"


def test_status_believes_sockets_and_not_units(topology):
    node = topology.node("db1")
    output = up(topology, node).replace("0.0.0.0:5432", "127.0.0.1:5432") + PRIMARY
    seen = status.parse(topology, node, output)
    down = [name for name, listens in seen.services.items() if not listens]
    assert down == ["postgres"], "a service that only loopback reaches serves nobody"
    assert seen.state == "service down"
    whole = status.parse(topology, node, output.replace("127.0.0.1", "[::]"))
    assert whole.healthy
    failed = status.parse(topology, node, "degraded\n---\npostgresql@17-main.service loaded failed\n---\n---\n")
    assert failed.failed_units == ("postgresql@17-main.service",)
    assert failed.state == "degraded"


def test_status_says_how_each_volume_is(topology):
    node = topology.node("db1")
    output = up(topology, node) + "---\n"
    told = '[{"name": "db1-data", "key": "vault:transit", "open": %s}]'
    seen = status.parse(topology, node, output + told % "true" + "\n" + PRIMARY.removeprefix("---\n"))
    assert seen.volumes == {"db1-data": "encrypted, key: vault:transit"}
    assert seen.healthy
    assert status.parse(topology, node, output + told % "false").state == "volume shut: db1-data"
    assert status.parse(topology, node, output + "[]").state == "volume missing: db1-data"
    clear = status.parse(topology, node, output + '[{"name": "db1-data", "open": false}]')
    assert clear.volumes == {"db1-data": "in the clear"}
    assert status.parse(topology, node, output + "sudo: a password is required").volumes == {}


def test_a_node_that_no_up_has_seen_is_told_from_the_others(places, topology):
    ssh_access.write(topology, places, {})
    assert ssh_access.unknown(topology, places) == []
    config = places.ssh_config.read_text().replace("Host crm1 crm1.lab.internal", "Host other1 other1.lab.internal")
    places.ssh_config.write_text(config)
    assert ssh_access.unknown(topology, places) == ["crm1"]


def test_an_expired_certificate_is_named(topology):
    node = topology.node("sec1")
    output = 'running\n---\n---\ntcp 0.0.0.0:22\ntcp 0.0.0.0:8200\ntcp 0.0.0.0:8201\n---\nTue\n---\n---\n{{"sealed": false}}\n---\nvault {} GMT\n'
    good = status.parse(topology, node, output.format("Nov 24 02:00:00 2099"))
    assert good.expired == ()
    over = status.parse(topology, node, output.format("Jan  4 02:00:00 2026"))
    assert not over.healthy
    assert over.state == "certificate expired: vault on 2026-01-04T10:00:00+08:00", "in the environment's zone"
    assert json.loads(status.document("lab", [over], []))["nodes"][0]["certificates"]


def test_status_tells_since_when_a_node_is_up_in_utc_for_machines(topology):
    node = topology.node("db1")
    for said, since in (("Tue 2026-11-24 02:00:00 UTC", "2026-11-24T02:00:00+00:00"), ("n/a", ""), ("", "")):
        seen = status.parse(topology, node, up(topology, node).replace("Tue 2026-11-24 02:00:00 UTC", said))
        assert json.loads(status.document("lab", [seen], []))["nodes"][0]["up_since"] == since


def test_a_service_that_did_not_take_over_the_new_certificate_is_named(topology):
    for name, database in (("edge1", ""), ("db1", PRIMARY.rpartition("---\n")[2])):
        node = topology.node(name)
        before = up(topology, node) + "---\n---\n---\n---\n" + database + "---\n"
        assert status.parse(topology, node, before).healthy
        seen = status.parse(topology, node, before + "edge\nlogging\n")
        assert not seen.healthy
        assert seen.state == "new certificate not taken over by: edge, logging"


def test_two_primaries_are_not_healthy_though_each_of_them_is(topology):
    nodes = [topology.node(name) for name in ("db1", "db2")]
    both = [status.parse(topology, node, up(topology, node) + PRIMARY) for node in nodes]
    assert status.primaries(both) == ["db1", "db2"]
    assert [node.healthy for node in both] == [True, True]
    assert json.loads(status.document("lab", both, []))["healthy"] is False
    assert json.loads(status.document("lab", both[:1], []))["healthy"] is True
