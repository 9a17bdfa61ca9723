# SPDX-License-Identifier: Apache-2.0
"""Accounts and keys that tiers have from the vault: who reads them, and what stands of them in the files that the agent writes."""

import re
import stat
from dataclasses import replace

import pytest
import yaml
from enrolled_host import HostAt, agent, enrolled, login, wait_for
from hvac.exceptions import VaultError as HvacError
from vault_world import Host, World

from jinku.vault import configure, manager

pytestmark = pytest.mark.openbao


def test_the_monitor_and_the_simulated_room_share_an_account_that_nobody_else_reads(
    ready: World, host_at: HostAt
) -> None:
    """The roles' own templates, rendered by the agent; the file is YAML that the exporter takes, and a line that snmpd takes."""
    monitor, room, crm = (enrolled(host_at(name), ready) for name in ("ops1", "room1", "crm1"))
    for host, role, owner in ((monitor, "monitor", "prometheus"), (room, "room", "Debian-snmp")):
        more = {"jinku_room": {"a": {}}, "ansible_managed": "made by a test"}
        text = replace(ready, folder=host.etc.parent.parent).render(role, f"etc/jinku/agent.d/{role}.hcl", **more)
        text = text.replace(f'"{owner}"', '"root"').replace('"nut"', '"root"').replace('"/usr/bin/systemctl"', '"true"')
        (host.etc / f"agent.d/{role}.hcl").write_text(text)
        (host.etc / role).mkdir()
    told, users = monitor.etc / "monitor/snmp-auth.yml", room.etc / "room/users.conf"
    with agent(monitor), agent(room):
        wait_for(told.exists, monitor)
        wait_for(users.exists, room)
    account = yaml.safe_load(told.read_text())["auths"]["room"]
    assert (account["version"], account["security_level"], len(account["password"])) == (3, "authPriv", 32)
    assert account["password"] != account["priv_password"]
    made = f"createUser {account['username']} SHA-256 {account['password']} AES {account['priv_password']}"
    assert users.read_text().splitlines() == [made, f"rouser {account['username']} authPriv -V room"]
    assert stat.S_IMODE(told.stat().st_mode) == stat.S_IMODE(users.stat().st_mode) == 0o600
    with pytest.raises(HvacError):
        login(crm, ready).read("kv/monitor/room")
    with manager(ready.fleet, ready.door) as client, pytest.raises(HvacError):
        client.read("kv/monitor/room")


def test_the_key_of_the_one_time_codes_is_the_crm_s_alone(ready: World, host_at: HostAt) -> None:
    """Made once; the manager neither reads nor replaces it."""
    monitor, crm = (enrolled(host_at(name), ready) for name in ("ops1", "crm1"))
    kept = login(crm, ready).read("kv/crm/factor")["data"]["key"]
    assert len(bytes.fromhex(kept)) == 32
    with pytest.raises(HvacError):
        login(monitor, ready).read("kv/crm/factor")
    with manager(ready.fleet, ready.door) as client:
        configure(ready.fleet, client)
        with pytest.raises(HvacError):
            client.read("kv/crm/factor")
        with pytest.raises(HvacError):
            client.write_data("kv/crm/factor", data={"key": kept})
    assert login(crm, ready).read("kv/crm/factor")["data"]["key"] == kept


def ship_power(world: World, host: Host) -> None:
    """Ship what hardening/power and, on the room's host, roles/room have the agent write."""
    ups = {"a": {"unit": "ups-a", "address": "127.0.0.1", "port": 3493, "name": "room.test.jinku", "authority": None}}
    own = next(one for one in world.variables["jinku_hosts"] if one["name"] == host.name)
    told = {"jinku_node": {**own, "site": "a", "stop_after": 15}, "jinku_ups": ups}
    for role in ("../hardening/power", *(["room"] if "room" in own["tiers"] else [])):
        path = f"etc/jinku/agent.d/{role.rpartition('/')[2]}.hcl"
        moved = replace(world, folder=host.etc.parent.parent)
        text = moved.render(role, path, ansible_managed="made by a test", jinku_room={}, **told)
        text = re.sub('"(nut|Debian-snmp)"', '"root"', text)
        text = re.sub('"/usr/(bin/systemctl|local/libexec/jinku-ups)"', '"true"', text)
        (host.etc.parent.parent / path).write_text(text)


def test_only_the_machine_beside_the_ups_gets_the_account_that_may_stop_all(ready: World, host_at: HostAt) -> None:
    """The roles' own templates, rendered by the agent: settings of upsmon on each host, accounts of upsd on the room's."""
    crm, room = (enrolled(host_at(name), ready) for name in ("crm1", "room1"))
    for host in (crm, room):
        ship_power(ready, host)
    with agent(crm), agent(room):
        for file, host in (("power/upsmon.conf", crm), ("power/upsmon.conf", room), ("power/upsd.users", room)):
            wait_for((host.etc / file).exists, host)
            assert stat.S_IMODE((host.etc / file).stat().st_mode) == 0o640
    listens, rules = ((host.etc / "power/upsmon.conf").read_text() for host in (crm, room))
    monitors = [next(line.split() for line in text.splitlines() if "MONITOR" in line) for text in (listens, rules)]
    assert [(words[1], words[2], words[3], words[5]) for words in monitors] == [
        ("ups-a@127.0.0.1:3493", "1", '"host"', "secondary"),
        ("ups-a@127.0.0.1:3493", "1", '"primary"', "primary"),
    ]
    assert monitors[0][4] != monitors[1][4]
    assert "FINALDELAY 15\n" in listens
    accounts = [line.strip() for line in (room.etc / "power/upsd.users").read_text().splitlines()]
    passwords = [words[4].strip('"') for words in monitors]
    assert accounts == [
        *("[host]", f"password = {passwords[0]}", "upsmon secondary"),
        *("[primary]", f"password = {passwords[1]}", "upsmon primary"),
    ]
    with pytest.raises(HvacError):
        login(crm, ready).read("kv/power/primary")


#: What would end a word or a line of the files that hold the account of the UPS.
ENDS: tuple[dict[str, str | None], ...] = (
    {"password": None},
    {"password": 'x" secondary\nNOTIFYCMD "/bin/sh -c id'},
    {"password": "x\n  upsmon primary"},
    {"password": "x y"},
    {"password": "x#y"},
    {"password": "x\\y"},
    {"password": "x=y"},
    {"password": "x'y"},
    {"password": "x\n"},
    {"password": ""},
    {"user": 'host" x'},
    {"user": "host]\n[other"},
    {"user": "host\n"},
)


def test_an_account_of_the_ups_adds_no_line_to_a_file_of_root_s(ready: World, host_at: HostAt) -> None:
    """A line of upsmon.conf can be a command that root runs, and one of upsd.users the right to stop all.

    One without a key, which somebody forgot, keeps no host from renewing its certificate.
    """
    crm, room = (enrolled(host_at(name), ready) for name in ("crm1", "room1"))
    for host in (crm, room):
        ship_power(ready, host)
    settings, users = crm.etc / "power/upsmon.conf", room.etc / "power/upsd.users"
    for account in ENDS:
        with manager(ready.fleet, ready.door) as client:
            data = {"user": "host", "password": "fine", **account}
            client.write_data("kv/power/host", data={key: value for key, value in data.items() if value is not None})
        settings.unlink(missing_ok=True)
        users.unlink(missing_ok=True)
        with agent(crm), agent(room):
            wait_for(settings.exists, crm)
            wait_for(users.exists, room)
        lines = [line.strip() for line in settings.read_text().splitlines()]
        assert lines[0] == "RUN_AS_USER nut", account
        assert lines[1].startswith("# kv/power/host: user or password is missing or holds a sign that is none"), account
        assert lines[2] == "MINSUPPLIES 1", account
        commands = [line for line in lines if line.startswith("NOTIFYCMD")]
        assert commands == ["NOTIFYCMD /usr/local/libexec/jinku-power-heard"], account
        accounts = [line.strip() for line in users.read_text().splitlines()]
        assert accounts[0].startswith("# kv/power/host: "), account
        assert accounts[1] == "[primary]", account
        assert len(accounts) == 4, account
    # what cannot be rendered as wanted held up nothing else
    assert (crm.etc / "tls/host.pem").exists()


def test_what_an_account_of_the_ups_may_hold_is_taken(ready: World, host_at: HostAt) -> None:
    """A password of digits, put there as a number, is one, too."""
    crm = enrolled(host_at("crm1"), ready)
    ship_power(ready, crm)
    settings = crm.etc / "power/upsmon.conf"
    for user, password in (("host-1_A", "aZ09._~+/:@%!*-"), ("host", 12345678)):
        with manager(ready.fleet, ready.door) as client:
            client.write_data("kv/power/host", data={"user": user, "password": password})
        settings.unlink(missing_ok=True)
        with agent(crm):
            wait_for(settings.exists, crm)
        assert f'    MONITOR ups-a@127.0.0.1:3493 1 "{user}" "{password}" secondary\n' in settings.read_text()


def test_an_account_of_the_sensors_adds_no_line(ready: World, host_at: HostAt) -> None:
    """A line of snmpd's can be a command; in the exporter's YAML a value is a text, whatever it looks like."""
    monitor, room = (enrolled(host_at(name), ready) for name in ("ops1", "room1"))
    ship_power(ready, room)
    (monitor.etc / "agent.d/monitor.hcl").write_text(
        replace(ready, folder=monitor.etc.parent.parent)
        .render("monitor", "etc/jinku/agent.d/monitor.hcl", jinku_room={"a": {}}, ansible_managed="made by a test")
        .replace('"prometheus"', '"root"')
        .replace('"/usr/bin/systemctl"', '"true"')
    )
    told, users = monitor.etc / "monitor/snmp-auth.yml", room.etc / "room/users.conf"
    refused = [
        "# kv/monitor/room: a value is missing or holds a sign that is none of this file's words; letters, digits and ._~+/:@%!*-"
    ]
    for value in ("x\nrouser eve", 'x" y', "x #", "12345678", None):
        data = {"user": "monitor", "privacy": "p" * 32, **({"authentication": value} if value else {})}
        with manager(ready.fleet, ready.door) as client:
            client.write_data("kv/monitor/room", data=data)
        told.unlink(missing_ok=True)
        users.unlink(missing_ok=True)
        with agent(monitor), agent(room):
            wait_for(told.exists, monitor)
            wait_for(users.exists, room)
        assert yaml.safe_load(told.read_text())["auths"]["room"]["password"] == (value or "<nil>")
        made = [f"createUser monitor SHA-256 {value} AES {'p' * 32}", "rouser monitor authPriv -V room"]
        assert users.read_text().splitlines() == (made if value == "12345678" else refused)
