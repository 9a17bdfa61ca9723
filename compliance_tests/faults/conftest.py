# SPDX-License-Identifier: Apache-2.0
"""A client of the CRM and an account of the test's own, for every fault test."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crm_client import Crm, Door

from jinku.model import Topology
from jinku.places import Places

SCRIPT = Path(__file__).with_name("crm_account.py")
AS_THE_CRM = "sudo runuser -u tryton -g tryton -G jinku-tls -- env TZ=UTC python3 -"
DATABASE = "crm"

Account = Callable[[str], None]


@pytest.fixture
def door(topology: Topology, places: Places) -> Door:
    """The first edge, from outside."""
    return Door.of(topology, places)


@pytest.fixture
def crm(door: Door) -> Crm:
    """A client that nobody has logged in with."""
    return Crm(door, DATABASE)


@pytest.fixture
def login() -> str:
    """The login name of this test's account: its own, so that one test's failures do not lock another's."""
    return f"fault{secrets.token_hex(4)}"


@pytest.fixture
def password() -> str:
    """The password that the account is given."""
    return f"Aa-{secrets.token_hex(12)}"


@pytest.fixture
def account(topology: Topology, places: Places, login: str, password: str) -> Iterator[Account]:
    """``account(state)`` brings the account into a state of crm_account.py; it is retired at the end."""
    node = topology.nodes_of("crm")[0].name

    def become(state: str) -> None:
        arguments = {"login": login, "do": state, "password": password}
        program = f"ARGUMENTS = {arguments!r}\n{SCRIPT.read_text(encoding='utf-8')}"
        command = ["ssh", "-F", str(places.ssh_config), node, AS_THE_CRM]
        done = subprocess.run(command, input=program, text=True, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr[-2000:]

    yield become
    become("retire")


@pytest.fixture
def verb(topology: Topology, places: Places) -> Callable[..., dict[str, Any]]:
    """``verb("export", "7")``: what a verb of the CRM's contract answers."""
    node = topology.nodes_of("crm")[0].name

    def ask(*words: str) -> dict[str, Any]:
        command = ["ssh", "-F", str(places.ssh_config), node, "sudo", "jinku-crm", *words]
        done = subprocess.run(command, text=True, capture_output=True, timeout=120, check=False)
        answer: dict[str, Any] = json.loads(done.stdout)
        assert answer["schema"] == f"jinku/crm-{words[0]}/1"
        assert ("error" in answer) == (done.returncode != 0)
        return answer

    return ask
