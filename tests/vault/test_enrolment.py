# SPDX-License-Identifier: Apache-2.0
"""A machine's way in: a secret for one use, and an identity by which it gets what is its own, and nothing else."""

import json
import stat
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from enrolled_host import HostAt, bootstrap, enrolled, login, names_of
from hvac.exceptions import VaultError as HvacError
from vault_world import World

from jinku.ssh_access import ensure_key
from jinku.vault import manager, wrap

pytestmark = pytest.mark.openbao


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
