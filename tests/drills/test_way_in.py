# SPDX-License-Identifier: Apache-2.0
"""A packet filter that shuts the controller out, over IPv6 alone or at all, takes itself back. Lab only."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from running import ENVIRONMENT, JINKU, PLACES, TOPOLOGY, on

from jinku.model.firewall import node_ruleset
from jinku.places import CHECKOUT

pytestmark = [
    pytest.mark.long_drill,
    pytest.mark.skipif(ENVIRONMENT.backend != "lab", reason="only the lab's hosts may be shut by a test"),
]
REVERT_S = 20
LOADED = "sudo nft --stateless list table inet jinku"


def converge(variables: Path, node: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")}
    words = [
        JINKU.with_name("ansible-playbook"),
        "site.yml",
        "--limit",
        node,
        "--tags",
        "firewall",
        "-e",
        f"@{variables}",
    ]
    return subprocess.run(words, cwd=CHECKOUT, env=environment, text=True, capture_output=True, check=False)


def enters(address: str, node: str) -> bool:
    """Whether a new connection comes in at that address."""
    options = ["-oBatchMode=yes", "-oControlPath=none", "-oConnectTimeout=3", f"-oHostName={address}"]
    return subprocess.run(["ssh", "-F", str(PLACES.ssh_config), *options, node, "true"], check=False).returncode == 0


@pytest.mark.parametrize("family", ["ip6", "ip"])
def test_rules_that_shut_the_way_in_are_taken_back(family: str, tmp_path: Path) -> None:
    node = TOPOLOGY.nodes_of("postgres")[0]
    assert enters(str(node.address), node.name)
    assert enters(str(node.address6), node.name), "without this way its loss proves nothing"
    before, ruleset = on(node.name, LOADED), node_ruleset(TOPOLOGY, node)
    lines = [line for line in ruleset.splitlines() if not (f" {family} saddr" in line and "dport 22 " in line)]
    assert len(lines) == len(ruleset.splitlines()) - 1
    variables = tmp_path / "variables.json"
    told = {"jinku_firewall_ruleset": "\n".join(lines) + "\n", "firewall_revert_seconds": REVERT_S}
    variables.write_text(json.dumps(told))

    begun = time.monotonic()
    done = converge(variables, node.name)
    assert done.returncode != 0, done.stdout
    assert f"{node.name}: firewall: the new packet filter shuts the controller out" in done.stdout, done.stdout
    assert ("controller out by IPv6" in done.stdout) is (family == "ip6")
    while not (enters(str(node.address), node.name) and enters(str(node.address6), node.name)):
        assert time.monotonic() < begun + 6 * REVERT_S, "the way in did not come back"
        time.sleep(1)
    assert on(node.name, LOADED) == before

    variables.write_text(json.dumps({"firewall_revert_seconds": REVERT_S}))
    assert converge(variables, node.name).returncode == 0, "the right rules are taken again"
    assert on(node.name, LOADED) == before
