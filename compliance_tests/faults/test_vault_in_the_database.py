# SPDX-License-Identifier: Apache-2.0
"""What somebody who has taken over the vault's database login can do: set one password, and nothing else. ``-m fault``."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from jinku.model import Topology
from jinku.places import Places

pytestmark = pytest.mark.fault
VERIFIER = f"SCRAM-SHA-256$4096:{'A' * 22}==${'B' * 43}=:{'C' * 43}="
SET = "select jinku.set_password('{}', '{}')"


@pytest.fixture
def as_the_vault(topology: Topology, places: Places) -> Callable[[str], str]:
    """``as_the_vault(statement)``: the server's words when the role openbao says it; taken back afterwards."""
    node = topology.nodes_of("postgres")[0].name

    def say(statement: str) -> str:
        program = f"BEGIN;\nSET SESSION AUTHORIZATION openbao;\n{statement};\nROLLBACK;\n"
        command = [
            "ssh",
            "-F",
            str(places.ssh_config),
            node,
            "sudo",
            "runuser",
            "-u",
            "postgres",
            "--",
            "psql",
            "-XAtq",
            "postgres",
        ]
        done = subprocess.run(command, input=program, text=True, capture_output=True, timeout=60, check=False)
        return done.stderr if "ERROR" in done.stderr else f"done: {done.stdout}"

    return say


def test_it_may_set_the_crm_s_password(as_the_vault: Callable[[str], str]) -> None:
    assert as_the_vault(SET.format("crm", VERIFIER)).startswith("done")


@pytest.mark.parametrize(
    "statement",
    [
        SET.format("postgres", VERIFIER),
        SET.format("crm", "in the clear"),
        "alter role crm password 'x'",
        "alter role openbao superuser",
        "create role another login",
        "grant crm to openbao",
        "grant crm_owner to openbao",
        "set role crm_owner",
        "select rolpassword from pg_authid",
        "create table here (is int)",
        "create function jinku.more() returns int language sql as 'select 1'",
        "copy (select 1) to program 'true'",
        "select pg_read_file('/etc/passwd')",
    ],
)
def test_it_may_do_nothing_else(as_the_vault: Callable[[str], str], statement: str) -> None:
    assert "ERROR" in as_the_vault(statement)


def test_it_cannot_open_the_crm_s_database(as_the_vault: Callable[[str], str]) -> None:
    assert as_the_vault("select has_database_privilege('crm', 'connect')").strip() == "done: f"
