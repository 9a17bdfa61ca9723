# SPDX-License-Identifier: Apache-2.0
"""The database falls: it is back by itself, with all that was committed. Runs with ``-m fault``."""

import secrets
import time

import pytest
from asking import PSQL, primary_database
from testinfra.host import Host

from jinku.evidence.fleet import Fleet
from jinku.model import Topology

pytestmark = pytest.mark.fault
BACK_S = 90  # seconds after which a server that was killed must answer again


@pytest.fixture
def database(fleet: Fleet, topology: Topology) -> Host:
    """The primary's host, as root."""
    return primary_database(fleet, topology)


def test_a_killed_server_comes_back_by_itself_with_what_was_committed(database: Host) -> None:
    table = f"fault_{secrets.token_hex(4)}"
    database.run_expect([0], f"{PSQL} -d crm -c 'create table {table} as select 42 as answer'")
    try:
        began = time.monotonic()
        database.run_expect([0], "kill -9 $(head -1 /var/lib/postgresql/17/main/postmaster.pid)")
        while (
            database.run(f": {time.monotonic()}; {PSQL} -d crm -c 'select answer from {table}'").stdout.strip() != "42"
        ):
            assert time.monotonic() - began < BACK_S, f"not back after {BACK_S} s"
            time.sleep(1)
    finally:
        database.run(f"{PSQL} -d crm -c 'drop table if exists {table}'")
