# SPDX-License-Identifier: Apache-2.0
"""A way into the vault that Jinku did not make is found, whoever made it: here the root token, which may do everything."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import hvac
import pytest
from vault_world import World

from jinku.vault import initialisation, initialise, manager, operator
from jinku.vault.configuration import configure
from jinku.vault.ways_in import strangers

pytestmark = pytest.mark.openbao
DUTY = {"certificate": "", "allowed_organizational_units": ["manager"], "token_policies": ["manager"]}


@pytest.fixture(scope="module")
def root(vault: World) -> hvac.Client:
    """A root token that was kept aside at the initialisation."""
    kept: list[str] = []
    inner: Callable[..., None] = initialisation._open_the_way_in

    def keep(fleet: Any, client: hvac.Client) -> None:
        inner(fleet, client)
        kept.append(
            client.write_data("auth/token/create", data={"policies": ["root"], "no_parent": True})["auth"][
                "client_token"
            ]
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(initialisation, "_open_the_way_in", keep)
        initialise(vault.fleet, vault.door)
    with manager(vault.fleet, vault.door) as client:
        configure(vault.fleet, client)
    return vault.door.client(token=kept[0])


def found(world: World) -> list[str]:
    with ExitStack() as stack:
        clients = [stack.enter_context(operator(world.fleet, world.door, duty)) for duty in ("manager", "audit")]
        return [line for line in strangers(world.fleet, *clients) if line != ROOT]


ROOT = "a token of token with root: is root's"


@pytest.mark.usefixtures("root")
def test_the_root_token_that_somebody_kept_is_found(vault: World) -> None:
    with operator(vault.fleet, vault.door, "manager") as one, operator(vault.fleet, vault.door, "audit") as two:
        assert strangers(vault.fleet, one, two) == [ROOT]


@pytest.mark.parametrize(
    ("path", "data", "said"),
    [
        ("sys/auth/userpass", {"type": "userpass"}, "sys/auth: userpass/ is none of ours"),
        ("sys/mounts/other", {"type": "kv"}, "sys/mounts: other/ is none of ours"),
        (
            "sys/policies/acl/other",
            {"policy": 'path "*" { capabilities = ["read"] }'},
            "sys/policies/acl: other is none of ours",
        ),
        ("auth/operators/certs/other", DUTY, "auth/operators/certs: other is none of ours"),
        ("auth/approle/role/other", {"token_policies": ["crm"]}, "auth/approle/role: other is none of ours"),
    ],
)
def test_what_is_none_of_ours_is_found(
    vault: World, root: hvac.Client, path: str, data: dict[str, Any], said: str
) -> None:
    if "certificate" in data:
        data = {**data, "certificate": root.read("auth/operators/certs/manager")["data"]["certificate"]}
    root.write_data(path, data=data)
    try:
        assert found(vault) == [said]
    finally:
        root.delete(path)
    assert found(vault) == []


@contextmanager
def altered(root: hvac.Client, path: str, key: str, value: Any) -> Iterator[None]:
    kept = root.read(path)["data"]
    root.write_data(path, data={**kept, key: value})
    yield
    root.write_data(path, data=kept)


def test_more_rights_for_one_of_ours_are_found(vault: World, root: hvac.Client) -> None:
    """None of these stands at a path that an expectation names."""
    policy = root.read("sys/policies/acl/host-far1")["data"]["policy"]
    wide = f'{policy}\npath "sys/storage/*" {{ capabilities = ["read"] }}'
    for path, key, value in (
        ("sys/policies/acl/host-far1", "policy", wide),
        ("auth/hosts/certs/host-far1", "token_policies", ["host-far1", "crm"]),
        ("pki_int/roles/host-far1", "allow_any_name", True),
        ("pki_identity/roles/host-far1", "allow_any_name", True),
        ("auth/hosts/certs/host-far1", "token_period", 864000),
        ("pki_int/roles/host-far1", "allowed_domains", ["vault.test.jinku"]),
        ("pki_int/roles/host-far1", "not_after", "2040-01-01T00:00:00Z"),
        ("pki_int/roles/host-far1", "cn_validations", ["disabled"]),
        ("auth/hosts/certs/host-far1", "token_type", "batch"),
        ("auth/hosts/certs/host-far1", "display_name", "somebody-else"),
        ("ssh_hosts/roles/host-far1", "allow_empty_principals", True),
        ("ssh_people/roles/li-na", "not_before_duration", 864000),
        ("auth/people/certs/li-na", "token_type", "batch"),
        ("auth/people/certs/li-na", "display_name", "somebody-else"),
    ):
        with altered(root, path, key, value):
            assert any(path in line for line in found(vault)), f"{path}: {key}"
    assert found(vault) == []


def test_a_duty_for_another_unit_is_found(vault: World, root: hvac.Client) -> None:
    with altered(root, "auth/operators/certs/audit", "token_policies", ["audit", "manager"]):
        assert [line for line in found(vault) if "gives ['audit', 'manager']" in line]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("token_bound_cidrs", []),
        ("token_bound_cidrs", ["10.0.0.0/8"]),
        ("disallowed_policies", []),
        ("token_no_default_policy", False),
        ("allowed_policies_glob", ["crm"]),
    ],
)
def test_tokens_for_asking_that_could_be_used_are_found(
    vault: World, root: hvac.Client, key: str, value: list[str]
) -> None:
    with altered(root, "auth/token/roles/expect", key, value):
        assert [line for line in found(vault) if f"auth/token/roles/expect: {key}" in line]
    assert found(vault) == []


def test_a_token_made_by_hand_is_found(vault: World, root: hvac.Client) -> None:
    made = root.write_data("auth/token/create", data={"policies": ["crm"], "ttl": "1h", "no_parent": True})["auth"]
    assert [line for line in found(vault) if "crm" in line and "was made by auth/token/create" in line]
    root.write_data("auth/token/revoke-accessor", data={"accessor": made["accessor"]})
    assert found(vault) == []


@pytest.mark.parametrize(
    ("mount", "key", "value"),
    [
        ("sys/mounts/kv", "audit_non_hmac_response_keys", "password"),
        ("sys/auth/hosts", "audit_non_hmac_request_keys", "name"),
        ("sys/auth/operators", "listing_visibility", "unauth"),
    ],
)
def test_a_setting_of_an_engine_that_shows_more_is_found(
    vault: World, root: hvac.Client, mount: str, key: str, value: str
) -> None:
    kind, name = mount.rsplit("/", 1)
    root.write_data(f"{mount}/tune", data={key: value})
    try:
        assert found(vault) == [f"{kind}: {name}/ has {key} set, which is none of ours"]
    finally:
        root.write_data(f"{mount}/tune", data={key: "hidden" if value == "unauth" else ""})
