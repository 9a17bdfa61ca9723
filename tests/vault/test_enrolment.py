# SPDX-License-Identifier: Apache-2.0
"""A machine's way in: a secret for one use, an identity, and an agent that keeps its certificate fresh."""

import contextlib
import json
import re
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from hvac.exceptions import VaultError as HvacError
from vault_world import Host, World

from jinku.pki import remaining_days
from jinku.ssh_access import ensure_key
from jinku.vault import configure, manager, wrap

pytestmark = pytest.mark.openbao
HostAt = Callable[[str], Host]


def bootstrap(host: Host, world: World) -> str:
    with manager(world.fleet, world.door) as client:
        made = wrap(world.fleet, client, [host.name])[host.name]
    return json.dumps(asdict(made))


def enrolled(host: Host, world: World) -> Host:
    done = host.enrol("enrol", bootstrap(host, world))
    assert done.returncode == 0, done.stderr
    return host


def names_of(pem: bytes) -> tuple[list[str], list[str]]:
    found = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(found.get_values_for_type(x509.DNSName)), [
        str(ip) for ip in found.get_values_for_type(x509.IPAddress)
    ]


def login(host: Host, world: World):  # type: ignore[no-untyped-def]
    identity = host.etc / "identity/identity.pem"
    client = world.door.client((identity, identity))
    client.token = client.write_data("auth/hosts/login", data={"name": f"host-{host.name}"})["auth"]["client_token"]
    return client


def test_a_machine_enrols_and_knows_it(ready: World, host_at: HostAt) -> None:
    host = host_at("crm1")
    assert json.loads(host.enrol("state").stdout)["enrolled"] is False
    enrolled(host, ready)
    found = json.loads(host.enrol("state").stdout)
    assert found["enrolled"] is True
    assert 360 < found["identity_days"] <= 365
    identity = host.etc / "identity/identity.pem"
    assert stat.S_IMODE(identity.stat().st_mode) == 0o600


def test_a_vault_that_is_away_is_named(ready: World, host_at: HostAt) -> None:
    host = host_at("crm1")
    ready.stop()
    assert "no answer" in host.enrol("state").stderr
    ready.start()
    ready.door.wait_until_active(20)


def test_a_bootstrap_serves_once(ready: World, host_at: HostAt) -> None:
    """Whoever copied it on its way is refused, or the machine is, which shows."""
    host = host_at("crm1")
    given = bootstrap(host, ready)
    assert host.enrol("enrol", given).returncode == 0
    again = host.enrol("enrol", given)
    assert again.returncode != 0
    assert "wrapping" in again.stderr


def test_a_bootstrap_that_is_over_is_refused(ready: World, host_at: HostAt) -> None:
    host = host_at("crm1")
    with manager(ready.fleet, ready.door) as client:
        role_id = client.read("auth/approle/role/host-crm1/role-id")["data"]["role_id"]
        short = client.write_data("auth/approle/role/host-crm1/secret-id", data={}, wrap_ttl="1s")["wrap_info"]["token"]
    time.sleep(1.5)
    late = host.enrol("enrol", json.dumps({"role_id": role_id, "wrapping_token": short}))
    assert late.returncode != 0
    assert not (host.etc / "identity/identity.pem").exists()


def test_a_secret_that_somebody_else_wrapped_is_refused(ready: World, host_at: HostAt) -> None:
    host = host_at("crm1")
    with manager(ready.fleet, ready.door) as client:
        other = wrap(ready.fleet, client, ["sec1"])["sec1"]
    refused = host.enrol("enrol", json.dumps(asdict(other)))
    assert "somebody else wrapped it" in refused.stderr


def test_a_bootstrap_is_bound_to_the_machines_address(ready: World, host_at: HostAt) -> None:
    """far1 is at another address than this test."""
    host = host_at("far1")
    assert host.enrol("enrol", bootstrap(host, ready)).returncode != 0


def test_a_machine_gets_its_own_names_only(ready: World, host_at: HostAt) -> None:
    client = login(enrolled(host_at("crm1"), ready), ready)
    own = {"common_name": "crm1.test.jinku", "alt_names": "app.test.jinku", "ip_sans": "127.0.0.1"}
    pem = client.write_data("pki_int/issue/host-crm1", data=own)["data"]["certificate"].encode()
    assert names_of(pem) == (["app.test.jinku", "crm1.test.jinku"], ["127.0.0.1"])
    for wrong in (
        {"common_name": "db.test.jinku"},
        {"common_name": "x.crm1.test.jinku"},
        {"common_name": "*.test.jinku"},
        {"alt_names": "vault.test.jinku"},
        {"ip_sans": "127.0.0.9"},
        {"uri_sans": "spiffe://x"},
        {"common_name": "localhost"},
    ):
        with pytest.raises(HvacError):
            client.write_data("pki_int/issue/host-crm1", data={**own, **wrong})
    with pytest.raises(HvacError):
        client.write_data("pki_int/issue/host-sec1", data={"common_name": "sec1.test.jinku"})


def test_a_leaf_is_no_identity(ready: World, host_at: HostAt, tmp_path: Path) -> None:
    """Services hold the leaf's key; with it nobody logs in at the vault."""
    client = login(enrolled(host_at("crm1"), ready), ready)
    made = client.write_data("pki_int/issue/host-crm1", data={"common_name": "crm1.test.jinku"})["data"]
    leaf = tmp_path / "leaf.pem"
    leaf.write_text(made["certificate"] + "\n" + made["private_key"] + "\n")
    with pytest.raises(HvacError):
        ready.door.client((leaf, leaf)).write_data("auth/hosts/login", data={"name": "host-crm1"})


def test_a_machine_logs_in_as_itself_only(ready: World, host_at: HostAt) -> None:
    identity = enrolled(host_at("crm1"), ready).etc / "identity/identity.pem"
    with pytest.raises(HvacError):
        ready.door.client((identity, identity)).write_data("auth/hosts/login", data={"name": "host-sec1"})


def test_an_identity_near_its_end_is_renewed_by_itself(ready: World, host_at: HostAt) -> None:
    host = enrolled(host_at("crm1"), ready)
    identity = host.etc / "identity/identity.pem"
    before = identity.read_text()
    assert host.enrol("renew").returncode == 0
    assert identity.read_text() == before
    short = host.etc.parent / "short.py"
    source = (Path(__file__).parents[2] / "roles/enrol/files/usr/local/sbin/jinku-enrol").read_text()
    short.write_text(source.replace("RENEW_DAYS = 60", "RENEW_DAYS = 400"))
    environment = {"JINKU_ETC": str(host.etc), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["/usr/bin/python3", short, "renew"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert identity.read_text() != before
    login(host, ready)


def test_the_agent_writes_the_certificate_and_calls_the_hooks(ready: World, host_at: HostAt) -> None:
    host = enrolled(host_at("crm1"), ready)
    hook(host, "10-test", f"touch {host.etc}/called")
    hook(host, "05-broken", "exit 3")
    with agent(host):
        wait_for((host.etc / "called").exists, host)
        wait_for((host.etc / "tls/reload.failed").exists, host)  # written after the last hook
    leaf = (host.etc / "tls/host.pem").read_bytes()
    assert names_of(leaf) == (["app.test.jinku", "crm1.test.jinku"], ["127.0.0.1"])
    assert stat.S_IMODE((host.etc / "tls/host.key").stat().st_mode) == 0o640
    assert (host.etc / "tls/ca.pem").read_text().count("BEGIN CERTIFICATE") == 2
    assert leaf.count(b"BEGIN CERTIFICATE") == 2
    assert (host.etc / "tls/reload.failed").read_text() == "05-broken\n"
    assert verified(host) == ""


def test_an_agent_that_starts_again_keeps_a_good_certificate(ready: World, host_at: HostAt) -> None:
    """Otherwise each start of a host would reload every service."""
    host = enrolled(host_at("crm1"), ready)
    leaf = host.etc / "tls/host.pem"
    with agent(host):
        wait_for(leaf.exists, host)
    before = leaf.read_bytes()
    hook(host, "10-test", f"touch {host.etc}/called")
    with agent(host):
        time.sleep(3)
    assert leaf.read_bytes() == before
    assert not (host.etc / "called").exists()


def test_a_certificate_is_renewed_before_its_end_and_after_a_cold_spell(ready: World, host_at: HostAt) -> None:
    """Vault and host are both off until the certificate is over; then on: nobody does anything."""
    host = enrolled(host_at("crm1"), ready)
    leaf = host.etc / "tls/host.pem"
    with manager(ready.fleet, ready.door) as client:
        client.write_data(
            "pki_int/roles/host-crm1", data={**client.read("pki_int/roles/host-crm1")["data"], "max_ttl": 8, "ttl": 8}
        )
    with agent(host):
        wait_for(leaf.exists, host)
        first = leaf.read_bytes()
        wait_for(lambda: leaf.read_bytes() != first, host)
        assert seconds_left(leaf) > 0
    ready.stop()
    last = leaf.read_bytes()
    with agent(host):
        wait_for(lambda: seconds_left(leaf) < 0, host)
        ready.start()
        wait_for(lambda: leaf.read_bytes() != last and seconds_left(leaf) > 0, host, 60)
    assert verified(host) == ""
    with manager(ready.fleet, ready.door) as client:
        assert configure(ready.fleet, client) == ["pki_int/roles/host-crm1"]


def test_a_template_of_a_tier_is_rendered_beside_the_certificate(ready: World, host_at: HostAt) -> None:
    """And one that cannot be rendered yet (its secret is made later in a run) holds up nothing else."""
    host = enrolled(host_at("crm1"), ready)
    source = '{{ with secret "auth/token/lookup-self" }}{{ .Data.display_name }}{{ end }}'
    for name, contents in (
        ("good", source),
        ("early", source.replace("auth/token/lookup-self", "database/static-creds/crm")),
    ):
        text = f'template {{\n  destination = "{host.etc}/{name}"\n  contents = "{contents.replace(chr(34), chr(92) + chr(34))}"\n}}\n'
        (host.etc / f"agent.d/{name}.hcl").write_text(text)
    with agent(host):
        wait_for((host.etc / "good").exists, host)
        wait_for((host.etc / "tls/host.pem").exists, host)
    assert "crm1" in (host.etc / "good").read_text()
    assert not (host.etc / "early").exists()


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


def hook(host: Host, name: str, body: str) -> None:
    path = host.etc / "tls-reload.d" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def seconds_left(path: Path) -> float:
    return remaining_days(path.read_bytes()) * 86400


def verified(host: Host) -> str:
    tls = host.etc / "tls"
    command = ["openssl", "verify", "-x509_strict", "-CAfile", tls / "ca.pem", tls / "host.pem"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


@contextlib.contextmanager
def agent(host: Host) -> Iterator[None]:
    with (host.etc.parent / "agent.log").open("ab") as log:
        process = subprocess.Popen([host.world.bao, "agent", f"-config={host.etc}/agent.d"], stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def wait_for(condition: Callable[[], bool], host: Host, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail((host.etc.parent / "agent.log").read_text()[-3000:])
        time.sleep(0.1)


def test_a_machine_has_its_own_ssh_host_key_signed_and_nothing_else(ready: World, host_at: HostAt) -> None:
    client = login(enrolled(host_at("crm1"), ready), ready)
    ensure_key(ready.folder / "host-key", "crm1")
    public = (ready.folder / "host-key.pub").read_text()
    given = {"public_key": public, "cert_type": "host", "valid_principals": "crm1,crm1.test.jinku,127.0.0.1"}
    signed = client.write_data("ssh_hosts/sign/host-crm1", data=given)["data"]["signed_key"]
    (ready.folder / "host-key-cert.pub").write_text(signed)
    said = subprocess.run(
        ["ssh-keygen", "-L", "-f", ready.folder / "host-key-cert.pub"], capture_output=True, text=True, check=True
    ).stdout
    assert "host certificate" in said
    assert "crm1.test.jinku" in said
    for path, other in (
        ("ssh_hosts/sign/host-crm1", {"valid_principals": "crm1,sec1.test.jinku"}),
        ("ssh_hosts/sign/host-crm1", {"cert_type": "user", "valid_principals": "li-na"}),
        ("ssh_hosts/sign/host-sec1", {}),
        ("ssh_people/sign/li-na", {"cert_type": "user", "valid_principals": "li-na"}),
    ):
        with pytest.raises(HvacError):
            client.write_data(path, data={**given, **other})
