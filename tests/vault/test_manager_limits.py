# SPDX-License-Identifier: Apache-2.0
"""What the manager may set at engines and at the database engine: the values that `jinku up` sets, and no others."""

from typing import Any

import pytest
from hvac.exceptions import Forbidden, InvalidRequest
from vault_world import World

from jinku.vault import configure, configure_database, manager
from jinku.vault.database import connection_url
from jinku.vault.policies import policies_of, policy_text
from jinku.vault.settings import Settings

pytestmark = pytest.mark.openbao

ENGINES = ("pki_int", "pki_identity", "volumes", "kv", "backup", "ssh_people", "ssh_hosts", "database")
METHODS = ("hosts", "approle", "people")
MOUNTS = [*(f"mounts/{name}" for name in ENGINES), *(f"auth/{name}" for name in METHODS)]
#: What would show secrets, tell strangers what there is, or change what an engine is.
SETTINGS = (
    {"audit_non_hmac_request_keys": "password"},
    {"audit_non_hmac_response_keys": ["password", "key"]},
    {"AUDIT_NON_HMAC_RESPONSE_KEYS": ["password"]},
    {"passthrough_request_headers": "X-Vault-Token"},
    {"allowed_response_headers": "X-Any"},
    {"listing_visibility": "unauth"},
    {"token_type": "batch"},
    {"options": {"version": "2"}},
    {"description": "x"},
    {"plugin_version": "v1.0.0"},
    {"max_lease_ttl": "999999999"},
    {"default_lease_ttl": "1"},
    {"max_lease_ttl": ["3600"]},
)


def refused(world: World, path: str, data: dict[str, Any]) -> None:
    with manager(world.fleet, world.door) as client, pytest.raises(Forbidden):
        client.write_data(path, data=data)


@pytest.mark.parametrize("mount", MOUNTS)
def test_no_setting_of_an_engine_but_our_own_is_taken(ready: World, mount: str) -> None:
    """Secrets would stand in clear in the audit log, which leaves the vault's host."""
    with manager(ready.fleet, ready.door) as client:
        before = client.read("sys/mounts")["data"], client.read("sys/auth")["data"]
        for more in SETTINGS:
            with pytest.raises(Forbidden):
                client.write_data(f"sys/{mount}/tune", data=more)
        assert before == (client.read("sys/mounts")["data"], client.read("sys/auth")["data"])


@pytest.mark.parametrize("mount", MOUNTS)
def test_an_engine_is_mounted_with_no_settings_and_as_no_other_sort(ready: World, mount: str) -> None:
    """The settings could be given along with the mounting, too. The engines are there but that of the database: it is refused before that is seen."""
    with manager(ready.fleet, ready.door) as client:
        text = client.read("sys/policies/acl/manager")["data"]["policy"]
        sort = text.split(f'path "sys/{mount}" {{')[1].split('"type" = ["')[1].split('"')[0]
        others = ({"type": "userpass"}, {"options": {"version": "2"}}, {"local": True}, {"seal_wrap": True})
        for more in (*({"config": setting} for setting in SETTINGS), *others):
            with pytest.raises(Forbidden):
                client.write_data(f"sys/{mount}", data={"type": sort, **more})


def test_our_own_settings_are_brought_back(ready: World) -> None:
    """Each engine and method was made by the manager, with its own life; what an older Jinku would want can no longer be set."""
    with manager(ready.fleet, ready.door) as client:
        for kind in ("mounts", "auth"):
            for name, said in client.read(f"sys/{kind}")["data"].items():
                if f"{kind}/{name.rstrip('/')}" in MOUNTS and name != "database/":
                    life = said["config"]["max_lease_ttl"]
                    assert life == said["config"]["default_lease_ttl"] > 0
                    client.write_data(f"sys/{kind}/{name}tune", data={"max_lease_ttl": str(life)})
        with pytest.raises(Forbidden):
            Settings(client).mount("mounts", "kv", "kv", 1)


def test_the_manager_of_an_earlier_version_gets_the_narrower_policy(ready: World) -> None:
    """It came with a policy without these limits; one `up` replaces it."""
    wide = "\n".join(
        f'path "{path}" {{ capabilities = ["create", "read", "update", "list", "sudo", "delete"] }}'
        for path in ("sys/*", "auth/*", "pki_int/*", "pki_identity/*", "ssh_people/*", "ssh_hosts/*", "identity/*")
    )
    with manager(ready.fleet, ready.door) as client:
        client.write_data("sys/policies/acl/manager", data={"policy": wide})
        client.write_data("sys/mounts/kv/tune", data={"description": "x"})
        assert configure(ready.fleet, client) == ["sys/policies/acl/manager"]
        with pytest.raises(Forbidden):
            client.write_data("sys/mounts/kv/tune", data={"description": "y"})


def test_passwords_are_composed_in_one_way(ready: World) -> None:
    refused(ready, "sys/policies/password/database", {"policy": 'length = 4\nrule "charset" { charset = "a" }'})


def test_the_database_engine_connects_to_one_place_as_one_account(ready: World) -> None:
    """Ours is tried, and fails because no PostgreSQL is there (test_database_engine.py has one); every other is refused by the policy."""
    with manager(ready.fleet, ready.door) as client:
        with pytest.raises(InvalidRequest, match="error creating database object"):
            configure_database(ready.fleet, client)
        ours = {
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": ["crm"],
            "connection_url": connection_url(ready.fleet),
            "max_connection_lifetime": "300s",
            "password_authentication": "scram-sha-256",
            "password_policy": "database",
        }
        with pytest.raises(InvalidRequest, match="error creating database object"):
            client.write_data("database/config/crm", data=ours)
        for more in (
            {"connection_url": "postgresql://openbao@192.0.2.9/postgres?sslmode=disable"},
            {"connection_url": connection_url(ready.fleet) + "&host=192.0.2.9"},
            {"verify_connection": False},
            {"allowed_roles": ["*"]},
            {"allowed_roles": ["crm", "other"]},
            {"allowed_roles": "*"},
            {"plugin_name": "mysql-database-plugin"},
            {"username": "postgres", "password": "x"},
            {"root_rotation_statements": ["SELECT 1"]},
            {"password_authentication": "password"},
            {"password_policy": ""},
        ):
            with pytest.raises(Forbidden):
                client.write_data("database/config/crm", data={**ours, **more})


def test_the_database_engine_runs_one_statement_for_one_account(ready: World) -> None:
    with manager(ready.fleet, ready.door) as client:
        statement = "SELECT jinku.set_password('{{name}}', '{{password}}')"
        ours = {"db_name": "crm", "username": "crm", "rotation_period": "86400", "rotation_statements": [statement]}
        for more in (
            {"rotation_statements": ["ALTER ROLE postgres PASSWORD '{{password}}'"]},
            {"rotation_statements": [statement, "DROP TABLE x"]},
            {"rotation_statements": statement + "; DROP TABLE x"},
            {"username": "postgres"},
            {"rotation_period": "5"},
            {"rotation_period": 5},
            {"credential_type": "rsa_private_key"},
            {"db_name": "other"},
        ):
            with pytest.raises(Forbidden):
                client.write_data("database/static-roles/crm", data={**ours, **more})


def test_the_managers_policy_is_filled_in(ready: World) -> None:
    """What stands in < > in the file is this environment's, in quotes and with nothing that would end the text."""
    text = policies_of(ready.fleet)["manager"]
    assert "<" in policy_text("manager")
    assert "<" not in "".join(line for line in text.splitlines() if not line.startswith("#"))
    assert f'"connection_url"          = ["{connection_url(ready.fleet)}"]' in text
