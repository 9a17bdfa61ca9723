# SPDX-License-Identifier: Apache-2.0
"""The vault's set-up against a real OpenBao: initialised once, the root token gone, policies that say what they mean."""

import base64
import errno
import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from hvac.exceptions import Forbidden
from hvac.exceptions import VaultError as HvacError
from vault_world import World

from jinku.pki import Authority
from jinku.vault import VaultError, check_expectations, configure, initialisation, initialise, manager, operator

pytestmark = pytest.mark.openbao


def test_a_full_disk_is_met_before_the_shares_are_made(vault: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told once: without room for them the vault must stay as it is."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="No space left"):
            initialise(vault.fleet, vault.door)
    assert not vault.door.health()["initialized"]


def test_an_empty_vault_does_not_cost_the_shares_of_the_old_one(vault: World) -> None:
    """Its volume may only not be mounted: a new vault would overwrite the only shares that open the old one."""
    shares = vault.fleet.state / "vault/recovery.json"
    shares.parent.mkdir(parents=True, exist_ok=True)
    shares.write_text("of the old vault")
    try:
        with pytest.raises(VaultError, match="is not mounted"):
            initialise(vault.fleet, vault.door)
        assert shares.read_text() == "of the old vault"
        assert not vault.door.health()["initialized"]
    finally:
        shares.unlink()


def test_a_run_killed_before_the_end_is_finished_by_the_next(vault: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root token waits in a private file, so that a crash does not cost the vault."""

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(initialisation, "_open_the_way_in", crash)
        with pytest.raises(KeyboardInterrupt):
            initialise(vault.fleet, vault.door)
    token_file = vault.fleet.state / "vault/root-token"
    root = token_file.read_text()
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    initialise(vault.fleet, vault.door)
    assert not token_file.exists()
    with pytest.raises(Forbidden):
        vault.door.client(token=root).read("auth/token/lookup-self")
    shares = vault.fleet.state / "vault/recovery.json"
    assert stat.S_IMODE(shares.stat().st_mode) == 0o600
    assert len(json.loads(shares.read_text())["shares"]) == 5


def test_a_second_initialisation_does_nothing(ready: World) -> None:
    assert initialise(ready.fleet, ready.door) == []


def test_a_second_configuration_changes_nothing(ready: World) -> None:
    with manager(ready.fleet, ready.door) as client:
        assert configure(ready.fleet, client) == []


def test_the_expectations_hold(ready: World) -> None:
    with manager(ready.fleet, ready.door) as client:
        assert [str(difference) for difference in check_expectations(ready.fleet, client)] == []


def test_a_policy_that_says_more_is_found(ready: World) -> None:
    """The sabotage of the test above; a dry run sees it too, and a run mends it."""
    with manager(ready.fleet, ready.door) as client:
        wide = 'path "database/*" { capabilities = ["read"] }'
        client.write_data("sys/policies/acl/crm", data={"policy": wide})
        found = {(difference.policy, difference.path) for difference in check_expectations(ready.fleet, client)}
        assert ("crm", "database/config/crm") in found
        assert configure(ready.fleet, client, dry=True) == ["sys/policies/acl/crm"]
        assert configure(ready.fleet, client) == ["sys/policies/acl/crm"]
        assert check_expectations(ready.fleet, client) == []


def test_the_token_that_asks_can_read_nothing(ready: World) -> None:
    """Otherwise the manager could read every secret by way of the expectations."""
    with manager(ready.fleet, ready.door) as client:
        made = client.write_data("auth/token/create/expect", data={"policies": ["manager"], "ttl": "60s"})["auth"]
    assert made["lease_duration"] == 60
    for use in ("auth/token/lookup-self", "sys/mounts"):
        with pytest.raises(Forbidden):
            ready.door.client(token=made["client_token"]).read(use)


def test_the_token_that_asks_leaves_nothing_in_the_vault(ready: World) -> None:
    """A check makes one for each policy; a service token is written to the disks of every member, twice."""
    with manager(ready.fleet, ready.door) as client:
        made = client.write_data("auth/token/create/expect", data={"policies": ["crm"], "ttl": "60s"})["auth"]
    assert (made["token_type"], made["accessor"]) == ("batch", "")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"ttl": "1h"},
        {"ttl": "60s", "policies": ["root"]},
        {"ttl": "60s", "type": "service"},
        {"ttl": "60s", "period": "1h"},
    ],
)
def test_the_manager_gets_no_token_for_asking_of_another_life_kind_or_of_root(
    ready: World, more: dict[str, Any]
) -> None:
    with manager(ready.fleet, ready.door) as client, pytest.raises(HvacError):
        client.write_data("auth/token/create/expect", data={"policies": ["crm"], **more})


@pytest.mark.parametrize(
    "path", ["database/static-creds/crm", "database/creds/crm", "sys/raw/core", "cubbyhole/../sys/raw"]
)
def test_the_manager_reads_no_secret(ready: World, path: str) -> None:
    with manager(ready.fleet, ready.door) as client, pytest.raises(HvacError):
        assert client.read(path) is None


def test_the_manager_gets_a_machines_secret_only_wrapped(ready: World) -> None:
    with manager(ready.fleet, ready.door) as client, pytest.raises(HvacError):
        client.write_data("auth/approle/role/host-crm1/secret-id", data={})


def test_the_manager_cannot_make_another_manager(ready: World) -> None:
    with manager(ready.fleet, ready.door) as client:
        for path in ("auth/operators/certs/other", "auth/token/roles/other", "sys/auth/other", "auth/token/create"):
            with pytest.raises(Forbidden):
                client.write_data(path, data={"token_policies": ["manager"]})


def test_a_duty_is_bound_to_its_certificate(ready: World) -> None:
    """A certificate for the duty audit does not log in as manager."""
    with operator(ready.fleet, ready.door, "audit") as client:
        assert set(client.read("sys/audit")["data"]) == {"volume/", "forwarded/"}
        with pytest.raises(Forbidden):
            client.write_data("sys/policies/acl/crm", data={"policy": ""})
        with pytest.raises(HvacError):
            client.write_data("auth/operators/login", data={"name": "manager"})


def test_a_foreign_authority_opens_nothing(ready: World, tmp_path: Path) -> None:
    (tmp_path / "vault").mkdir()
    Authority(tmp_path / "pki", "operators").ensure("Somebody else", 1, 0)
    with pytest.raises(VaultError, match="refused"), manager(replace(ready.fleet, state=tmp_path), ready.door):
        pass


def test_a_server_of_another_name_is_not_believed(ready: World) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        replace(ready.door, server_name="db.test.jinku").client().read("sys/health")


def test_both_audit_devices_record_and_hold_no_secret(ready: World) -> None:
    with manager(ready.fleet, ready.door) as client:
        token = client.token
        client.read("sys/mounts")
    for path in ("var/lib/openbao/audit/audit.log", "var/log/openbao/audit.log"):
        text = (ready.folder / path).read_text()
        assert '"path":"sys/mounts"' in text
        assert token not in text


def test_a_machine_that_left_loses_its_role(ready: World) -> None:
    with manager(ready.fleet, ready.door) as client:
        kept = tuple(machine for machine in ready.fleet.machines if machine.name != "far1")
        smaller = replace(ready.fleet, machines=kept)
        changes = configure(smaller, client)
        assert "auth/hosts/certs/host-far1 removed" in changes
        assert configure(smaller, client) == []
        configure(ready.fleet, client)
        assert configure(ready.fleet, client) == []


def test_a_vault_that_was_off_opens_by_itself(ready: World) -> None:
    """Cold start in the lab: nothing is to be done."""
    ready.stop()
    ready.start()
    assert ready.door.wait_until_active(20)["sealed"] is False


def test_the_recovery_shares_make_a_root_token_again(ready: World) -> None:
    """Three of the five operators together, through the duty recovery; two are not enough."""
    shares = json.loads((ready.fleet.state / "vault/recovery.json").read_text())["shares"]
    path = "sys/generate-root-token"
    with operator(ready.fleet, ready.door, "recovery") as client:
        begun = client.write_data(f"{path}/attempt", data={})
        begun = begun.get("data") or begun
        for share in shares[:3]:
            step = client.write_data(f"{path}/update", data={"key": share, "nonce": begun["nonce"]})
            step = step.get("data") or step
            assert step["complete"] is (share == shares[2])
    encoded = base64.b64decode(step["encoded_token"] + "==")
    token = bytes(left ^ right for left, right in zip(encoded, begun["otp"].encode(), strict=True)).decode()
    root = ready.door.client(token=token)
    assert root.read("auth/token/lookup-self")["data"]["policies"] == ["root"]
    root.auth.token.revoke_self()
