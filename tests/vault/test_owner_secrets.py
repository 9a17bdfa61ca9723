# SPDX-License-Identifier: Apache-2.0
"""`jinku secret` with a real vault: what the owner puts there reaches those who need it, and nobody sees it on the way."""

import io
import json
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from enrolled_host import HostAt, agent, enrolled, login, wait_for
from hvac.exceptions import Forbidden
from vault_world import World

from jinku import cli
from jinku.cli import secret as verb
from jinku.cli.exit_codes import ExitCode
from jinku.places import CHECKOUT
from jinku.vault import configure, initialise, manager, operator, owner_secrets

pytestmark = pytest.mark.openbao
SEAL = "shamir"
Jinku = Callable[..., int | str | None]


@pytest.fixture(scope="module")
def ready(vault: World) -> World:
    """As everywhere, but for a room that is simulated: its devices are real, and their account is the owner's to bring."""
    machines = tuple(machine for machine in vault.fleet.machines if "room" not in machine.tiers)
    real = replace(vault, fleet=replace(vault.fleet, machines=machines))
    initialise(real.fleet, real.door)
    with manager(real.fleet, real.door) as client:
        configure(real.fleet, client)
    return real


@pytest.fixture
def jinku(ready: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jinku:
    """`jinku WORDS` of an environment with real devices and a real UPS, whose vault is the test's; ``given`` on standard input."""
    data = yaml.safe_load((CHECKOUT / "inventories/small/environment.yaml").read_text(encoding="utf-8"))
    point = {"quantity": "water", "place": "floor", "oid": "1.3.6.1.4.1.99999.1"}
    room = {
        "devices": {"aisle-1": {"address": "10.20.0.200", "points": [point]}},
        "ups": {"a": {"address": "10.20.0.202", "name": "power.example.internal"}},
    }
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "environment.yaml").write_text(yaml.safe_dump({**data, "name": "mine", "room": room}))

    @contextmanager
    def way(_fleet: Any, _config: Any = None) -> Iterator[Any]:
        yield ready.door

    monkeypatch.setattr(verb, "is_up", lambda _places: True)
    monkeypatch.setattr(verb.Fleet, "of", lambda *_: ready.fleet)
    monkeypatch.setattr(owner_secrets, "through_the_bastion", way)

    def run(*words: str, given: str = "") -> int | str | None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        with pytest.raises(SystemExit) as ended:
            cli.main([*words, "--env", str(folder)])
        return ended.value.code

    return run


def account() -> dict[str, str]:
    return {"user": "monitor-1", "authentication": secrets.token_hex(16), "privacy": secrets.token_hex(16)}


def files_with(world: World, values: list[str]) -> list[str]:
    """Files below the world's folder in which one of the values stands, the vault's own encrypted storage included."""
    return [
        str(path)
        for path in world.folder.rglob("*")
        if path.is_file() and any(value.encode() in path.read_bytes() for value in values)
    ]


def test_an_account_that_is_missing_is_named_put_and_fetched(
    ready: World, jinku: Jinku, host_at: HostAt, capsys: pytest.CaptureFixture[str]
) -> None:
    """The monitor's agent is there first and has its certificate all the same; it then writes what was put, by itself."""
    assert jinku("secret", "list") == ExitCode.FAILED
    said = capsys.readouterr()
    assert "room: the account of the sensors (room.devices) is not in the vault; `jinku secret put room`" in said.err
    assert "ups: the account of the UPS (room.ups) is not in the vault; `jinku secret put ups`" in said.err
    monitor = enrolled(host_at("ops1"), ready)
    (monitor.etc / "agent.d/monitor.hcl").write_text(
        replace(ready, folder=monitor.etc.parent.parent)
        .render("monitor", "etc/jinku/agent.d/monitor.hcl", jinku_room={"a": {}}, ansible_managed="made by a test")
        .replace('"prometheus"', '"root"')
        .replace('"/usr/bin/systemctl"', '"true"')
    )
    told, values = monitor.etc / "monitor/snmp-auth.yml", account()
    with agent(monitor):
        wait_for((monitor.etc / "tls/host.pem").exists, monitor)
        assert not told.exists()
        assert jinku("secret", "put", "room", given=json.dumps(values)) == ExitCode.OK
        wait_for(told.exists, monitor, 90)
    auth = yaml.safe_load(told.read_text())["auths"]["room"]
    assert (auth["username"], auth["password"], auth["priv_password"]) == tuple(values.values())
    said = capsys.readouterr()
    hidden = [values["authentication"], values["privacy"]]
    assert not [value for value in hidden if value in said.out + said.err]
    assert files_with(ready, ["kv/monitor/room"]), "the audit log says that something was put there"
    assert files_with(ready, hidden) == []


def test_what_the_owner_put_there_no_up_replaces(ready: World, jinku: Jinku, host_at: HostAt) -> None:
    values = account()
    lines = "".join(f"{key}={value}\n" for key, value in values.items())
    assert jinku("secret", "put", "room", given=lines) == ExitCode.OK
    assert jinku("secret", "put", "ups", given="user=host\npassword=abcdefgh") == ExitCode.OK
    assert jinku("secret", "list") == ExitCode.OK
    with manager(ready.fleet, ready.door) as client:
        configure(ready.fleet, client)
    monitor, crm = (enrolled(host_at(name), ready) for name in ("ops1", "crm1"))
    assert login(monitor, ready).read("kv/monitor/room")["data"] == values
    assert login(crm, ready).read("kv/power/host")["data"] == {"user": "host", "password": "abcdefgh"}
    with pytest.raises(Forbidden):
        login(crm, ready).read("kv/monitor/room")


def test_who_puts_a_secret_there_reads_and_removes_none_and_others_put_none(
    ready: World, jinku: Jinku, host_at: HostAt
) -> None:
    values = account()
    assert jinku("secret", "put", "room", given=json.dumps(values)) == ExitCode.OK
    with manager(ready.fleet, ready.door) as client:
        for secret in owner_secrets.SECRETS:
            with pytest.raises(Forbidden):
                client.read(secret.path)
            with pytest.raises(Forbidden):
                client.delete(secret.path)
        for path in ("kv/monitor/other", "kv/power/other", "kv/other/room"):
            with pytest.raises(Forbidden):
                client.write_data(path, data=values)
    monitor = enrolled(host_at("ops1"), ready)
    with operator(ready.fleet, ready.door, "audit") as auditor:
        for client in (auditor, login(monitor, ready)):
            with pytest.raises(Forbidden):
                client.write_data("kv/monitor/room", data=account())
    assert login(monitor, ready).read("kv/monitor/room")["data"] == values


def test_a_sealed_vault_takes_nothing_and_says_who_opens_it(
    ready: World, jinku: Jinku, capsys: pytest.CaptureFixture[str]
) -> None:
    ready.seal()
    try:
        assert jinku("secret", "put", "room", given=json.dumps(account())) == ExitCode.FAILED
        assert "sealed; the operators open it, each with a share (`jinku unseal`)" in capsys.readouterr().err
    finally:
        ready.open()
