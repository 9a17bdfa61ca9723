# SPDX-License-Identifier: Apache-2.0
"""People at a real OpenBao: their keys signed for hours, the rights of their duty, and the end of it all when they leave."""

import subprocess
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import hvac
import pytest
from hvac.exceptions import Forbidden, InvalidRequest
from vault_world import PEOPLE, World, person

from jinku import people_access
from jinku.ssh_access import ensure_key
from jinku.vault import (
    Door,
    Fleet,
    VaultError,
    configure,
    export_authorities,
    initialise,
    manager,
    operator,
    revoke_leavers,
)
from jinku.vault.people import SIGNED_SECONDS, USER_CA
from jinku.vault.second_factor import fresh_code, has_secret, new_secret
from jinku.vault.tokens import live_tokens

pytestmark = pytest.mark.openbao


@pytest.fixture(scope="module")
def world(vault: World) -> World:
    """A vault that knows the three people."""
    (vault.fleet.state / "ssh").mkdir()
    initialise(vault.fleet, vault.door)
    with manager(vault.fleet, vault.door) as client:
        assert configure(vault.fleet, client)
        assert configure(vault.fleet, client) == []
        assert len(export_authorities(vault.fleet, client)) == 2
        assert export_authorities(vault.fleet, client) == []
    return vault


SECRETS: dict[str, str] = {}


def entered(fleet: Fleet, door: Door, name: str, own: Path, code: str = "") -> AbstractContextManager[hvac.Client]:
    """As the product does, with a code of the secret that the person was given; a new one where there is none any more."""
    if not code:
        with manager(fleet, door) as client:
            if not has_secret(client, name):
                SECRETS[name] = new_secret(client, name)
                (fleet.state / f"{name}.used").unlink(missing_ok=True)
        code = fresh_code(SECRETS[name], fleet.state / f"{name}.used")
    return people_access.entered(fleet, door, name, own, code)


def key(world: World, name: str) -> Path:
    return world.folder / "people" / name


def sign(client: hvac.Client, world: World, name: str, **more: Any) -> str:
    public = key(world, name).with_suffix(".pub").read_text()
    answer = client.write_data(f"ssh_people/sign/{name}", data={"public_key": public, **more})
    return str(answer["data"]["signed_key"])


def shown(world: World, certificate: str) -> str:
    path = world.folder / "shown-cert.pub"
    path.write_text(certificate)
    return subprocess.run(["ssh-keygen", "-L", "-f", path], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", PEOPLE)
def test_each_person_has_the_own_key_signed_for_hours_and_for_nobody_else(world: World, name: str) -> None:
    other = next(one for one in PEOPLE if one != name)
    with entered(world.fleet, world.door, name, key(world, name)) as client:
        said = shown(world, sign(client, world, name))
        assert world.fleet.person(name).principal in said
        assert "source-address 127.0.0.0/8,127.0.0.1" in said
        assert "permit-pty" in said
        assert "X11" not in said
        with pytest.raises(Forbidden):
            sign(client, world, other)
        for wrong in (
            {"valid_principals": world.fleet.person(other).principal},
            {"valid_principals": "root"},
            {"extensions": {"permit-X11-forwarding": ""}},
            {"critical_options": {"force-command": "/bin/sh"}},
            {"critical_options": {"source-address": "0.0.0.0/0"}},
            {"cert_type": "host"},
            {"ttl": SIGNED_SECONDS * 10},
        ):
            try:
                said = shown(world, sign(client, world, name, **wrong))
            except (InvalidRequest, Forbidden):
                continue
            assert "ttl" in wrong, f"signed with {wrong}: {said}"
            assert "forever" not in said


def test_the_duty_says_what_a_person_may_do_at_the_vault(world: World) -> None:
    for name, duty in PEOPLE.items():
        with entered(world.fleet, world.door, name, key(world, name)) as client:
            paths = ["sys/policies/acl/crm", "auth/people/certs/li-na", "sys/audit", "ssh_people/config/ca"]
            answer = client.write_data("sys/capabilities-self", data={"paths": paths})["data"]
            writes = {path for path in paths if {"update", "create"} & set(answer[path])}
            reads = {path for path in paths if "read" in answer[path]}
            assert bool(writes) is (duty == "security"), f"{name}: {answer}"
            assert bool(reads) is (duty != "system"), f"{name}: {answer}"


def test_only_a_key_that_the_person_has_now_opens_the_vault(world: World) -> None:
    ensure_key(key(world, "old"), "an old key of li-na's")
    with (
        pytest.raises(VaultError, match="login of li-na is refused"),
        entered(world.fleet, world.door, "li-na", key(world, "old")),
    ):
        pass
    with (
        pytest.raises(VaultError, match="is refused"),
        entered(world.fleet, world.door, "nobody", key(world, "li-na"), "000000"),
    ):
        pass


def test_hosts_sign_their_own_host_key_only(world: World) -> None:
    with manager(world.fleet, world.door) as client:
        role = client.read("ssh_hosts/roles/host-crm1")["data"]
    assert role["allow_host_certificates"]
    assert not role["allow_user_certificates"]
    assert "crm1.test.jinku" in role["allowed_domains"]
    assert "sec1" not in role["allowed_domains"]
    assert (world.fleet.state / "ssh" / USER_CA).read_text().startswith("ssh-ed25519 ")


def left(world: World, people: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Tell the vault of other people; what changed, and whose tokens ended."""
    fleet = Fleet.of_variables({**world.variables, "jinku_operators": people})
    fleet = replace(fleet, state=world.fleet.state)
    with ExitStack() as stack:
        chief = stack.enter_context(manager(fleet, world.door))
        auditor = stack.enter_context(operator(fleet, world.door, "audit"))
        changed = configure(fleet, chief)
        return changed, revoke_leavers(fleet, chief, auditor)


def test_who_leaves_or_changes_keys_loses_token_and_way_in_at_once(world: World) -> None:
    people = world.variables["jinku_operators"]
    with entered(world.fleet, world.door, "wang-fang", key(world, "wang-fang")) as stays:
        for name, others in (
            ("li-na", [one for one in people if one["name"] != "li-na"]),
            ("li-na", [{**one, "state": "absent"} if one["name"] == "li-na" else one for one in people]),
            (
                "li-na",
                [person(world.folder / "new", "li-na", "system") if one["name"] == "li-na" else one for one in people],
            ),
            ("zhang-wei", [{**one, "duty": "audit"} if one["name"] == "zhang-wei" else one for one in people]),
        ):
            with entered(world.fleet, world.door, name, key(world, name)) as client:
                sign(client, world, name)
                changed, ended = left(world, others)
                assert any(name in path for path in changed)
                assert ended == [f"token of {name}"]
                with pytest.raises(Forbidden):
                    sign(client, world, name)
                sign(stays, world, "wang-fang")
            if name == "li-na":
                with (
                    pytest.raises(VaultError, match="is refused"),
                    entered(world.fleet, world.door, name, key(world, name), "000000"),
                ):
                    pass
            left(world, people)
    with entered(world.fleet, world.door, "li-na", key(world, "li-na")) as client:
        sign(client, world, "li-na")


def test_neither_the_key_alone_nor_a_wrong_or_used_code_lets_anybody_in(world: World) -> None:
    with entered(world.fleet, world.door, "wang-fang", key(world, "wang-fang")):
        pass
    code = fresh_code(SECRETS["wang-fang"], world.fleet.state / "wang-fang.used")
    wrong = f"{(int(code) + 1) % 1000000:06}"
    for name, given in (("wang-fang", wrong), ("li-na", code), ("wang-fang", "")):
        with (
            pytest.raises(VaultError, match="is refused"),
            people_access.entered(world.fleet, world.door, name, key(world, name), given),
        ):
            pass
    with people_access.entered(world.fleet, world.door, "wang-fang", key(world, "wang-fang"), code):
        pass
    with (
        pytest.raises(VaultError, match="is refused"),
        people_access.entered(world.fleet, world.door, "wang-fang", key(world, "wang-fang"), code),
    ):
        pass


def test_a_new_secret_is_its_owner_s_alone_and_none_that_failed_leaves_the_old_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "otp"
    file.write_text("an older secret, in a file that everybody reads")
    file.chmod(0o644)
    with manager(world.fleet, world.door) as client:
        people_access.give_second_factor(world.fleet, client, "zhang-wei", file)
        SECRETS["zhang-wei"] = file.read_text().strip()
        assert SECRETS["zhang-wei"].startswith("otpauth://totp/")
        assert file.stat().st_mode & 0o777 == 0o600
        with pytest.raises(VaultError, match="nobody present with a key is called 'nobody'; one of li-na"):
            people_access.give_second_factor(world.fleet, client, "nobody", file)
        assert file.exists()

        def refused(*_: Any) -> str:
            raise Forbidden("permission denied")

        monkeypatch.setattr(people_access, "new_secret", refused)
        with pytest.raises(VaultError, match=r"is not made \(permission denied"):
            people_access.give_second_factor(world.fleet, client, "zhang-wei", file)
    assert list(tmp_path.iterdir()) == []
    (world.fleet.state / "zhang-wei.used").unlink(missing_ok=True)
    with entered(world.fleet, world.door, "zhang-wei", key(world, "zhang-wei")):
        pass


class Looked:
    """A vault with one token, which answers a look at it with an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def list(self, _: str) -> dict[str, Any]:
        return {"data": {"keys": ["one"]}}

    def write_data(self, *_: Any, **__: Any) -> None:
        raise self.error


def test_a_token_that_ended_is_passed_over_and_a_refusal_to_show_tokens_is_not() -> None:
    assert list(live_tokens(Looked(InvalidRequest("invalid accessor")))) == []
    with pytest.raises(Forbidden):
        list(live_tokens(Looked(Forbidden("permission denied"))))
