# SPDX-License-Identifier: Apache-2.0
"""Without the vault a volume stays shut, and opens by itself when the vault is back. Lab only."""

import json
import subprocess
import time

import pytest
from running import ENVIRONMENT, PLACES, TOPOLOGY, switch

BACK_SECONDS = 120  # a bound for a machine of two cores, not a target

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(ENVIRONMENT.backend != "lab", reason="only the lab's hosts have a switch that a test may touch"),
]


def on(node: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as root on a node."""
    words = ["ssh", "-F", str(PLACES.ssh_config), node, "sudo sh -c '" + command.replace("'", "'\\''") + "'"]
    return subprocess.run(words, text=True, capture_output=True, timeout=60, check=False)


def is_open(node: str) -> bool:
    """Whether every volume of the node is open, as its kernel says."""
    told = json.loads(on(node, "jinku-volumes state").stdout)
    return bool(told) and all(one["open"] for one in told)


def test_without_the_vault_the_database_s_volume_stays_shut() -> None:
    database, vaults = TOPOLOGY.nodes_of("postgres")[0], [node.name for node in TOPOLOGY.nodes_of("vault")]
    place = database.volumes[0].mount
    serves = "systemctl is-active --quiet postgresql@17-main && runuser -u postgres -- psql -XAtqc 'SELECT 1'"
    assert is_open(database.name)
    assert on(database.name, serves).stdout.strip() == "1", "the database must answer before the drill"
    known = on(database.name, f"find {place} -name PG_VERSION | head -1").stdout.strip()
    assert known
    switch("stop_node", database.name, *vaults)
    try:
        switch("start_node", database.name)
        time.sleep(10)  # it has tried more than once
        assert not is_open(database.name)
        assert on(database.name, serves).returncode != 0, "the database runs on a volume that is shut"
        assert on(database.name, f"cat {known}").returncode != 0
        content = on(database.name, f"find {place}/jinku-content -mindepth 1 -maxdepth 1")
        assert content.stdout.strip(), f"nothing is there to be shut: {content.stderr}"
        assert "/17" not in content.stdout, "names are readable"
        written = on(database.name, f"touch {place}/new; touch {place}/jinku-content/new")
        assert "Operation not permitted" in written.stderr, "root writes beside the shut volume"
        assert "Required key not available" in written.stderr, "root writes into the shut volume"
    finally:
        switch("start_node", database.name, *vaults)
    deadline = time.monotonic() + BACK_SECONDS
    while not (is_open(database.name) and on(database.name, serves).stdout.strip() == "1"):
        assert time.monotonic() < deadline, f"the database does not answer {BACK_SECONDS} s after the vault is back"
        time.sleep(1)
