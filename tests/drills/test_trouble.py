# SPDX-License-Identifier: Apache-2.0
"""A host that is cut off, a sealed vault, two who want to change, an `up` killed: each is named, and `up` ends it. Lab only."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import ENVIRONMENT, JINKU, PLACES, TOPOLOGY, edge_answers, jinku, on

from jinku.cli.exit_codes import ExitCode
from jinku.vault import Fleet, operator, through_the_bastion
from stacks.provider.lab import hosts, links

pytestmark = [
    pytest.mark.long_drill,
    pytest.mark.skipif(ENVIRONMENT.backend != "lab", reason="only the lab's hosts may be cut off by a test"),
]
EDGE = str(TOPOLOGY.nodes_of("edge")[0].address)


def verdicts(document: Path, node: str) -> set[tuple[str, str]]:
    """(verdict, code of the reason) of every record of a node's objects in a check's document."""
    found = json.loads(document.read_text())
    own = {thing["id"] for thing in found["objects"] if thing["node"] == node}
    return {(one["verdict"], one["reason"]["code"]) for one in found["records"] if one["object"] in own}


def test_a_host_that_is_cut_off_is_named_and_never_conform(tmp_path: Path) -> None:
    node = TOPOLOGY.nodes_of("crm")[0].name
    asyncio.run(links.remove_port(hosts.load(ENVIRONMENT.name, node).port))
    status = jinku("status")
    assert status.returncode == ExitCode.FAILED
    assert f"not healthy: {node}" in status.stdout
    document = tmp_path / "check.json"
    check = jinku("check", "--node", node, "--json", str(document))
    assert check.returncode == ExitCode.INCOMPLETE, check.stdout
    assert f"{node}: cannot be reached" in check.stdout
    assert verdicts(document, node) == {("not_tested", "unreachable")}
    up = jinku("up")  # puts the cable back
    assert "did not come up" not in up.stdout, up.stdout
    assert jinku("status").returncode == ExitCode.OK


@pytest.fixture
def sealed() -> Iterator[str]:
    """The vault is sealed as the security administrator does it; the lab's opens again by its key when it is restarted."""
    with through_the_bastion(Fleet.of(TOPOLOGY, PLACES)) as door:
        with operator(Fleet.of(TOPOLOGY, PLACES), door, "recovery") as client:
            client.write_data("sys/seal", data={})
        while not door.health()["sealed"]:
            time.sleep(0.1)
        node = TOPOLOGY.nodes_of("vault")[0].name
        yield node
        on(node, "sudo systemctl restart openbao.service")
        door.wait_until_active()


def test_a_sealed_vault_is_named_and_never_conform(sealed: str, tmp_path: Path) -> None:
    status = jinku("status")
    assert status.returncode == ExitCode.FAILED
    assert "vault is sealed" in status.stdout
    unseal = jinku("unseal")
    assert unseal.returncode == ExitCode.FAILED
    assert "opens by a key on its host (static)" in unseal.stdout
    document = tmp_path / "check.json"
    check = jinku("check", "--node", sealed, "--json", str(document))
    assert check.returncode in (ExitCode.NOT_CONFORM, ExitCode.INCOMPLETE), check.stdout
    found = json.loads(document.read_text())
    vault = {thing["id"] for thing in found["objects"] if thing["object_class"] == "vault"}
    tried = [one for one in found["records"] if one["object"] in vault and one["polarity"] == "behaviour"]
    assert any(one["verdict"] == "not_tested" and "sealed" in one["reason"]["text"] for one in tried), tried
    up = jinku("up")
    assert up.returncode == ExitCode.FAILED
    assert "sealed; the operators open it" in up.stdout, up.stdout


def test_two_at_once_and_one_that_is_killed() -> None:
    first = subprocess.Popen([JINKU, "up"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert first.stdout
    for line in first.stdout:
        if "pulumi up" in line:
            break
    for verb in ("up", "plan"):
        second = jinku(verb)
        assert second.returncode == ExitCode.LOCKED, second.stdout
        assert f"`jinku up` by {os.environ.get('SUDO_USER') or 'root'}, process {first.pid}" in second.stdout
    for line in first.stdout:
        if "ansible-playbook" in line:
            break
    time.sleep(5)  # in the middle of Ansible's part
    first.send_signal(signal.SIGKILL)
    first.wait()
    up = jinku("up")
    assert "did not come up" not in up.stdout, up.stdout
    assert edge_answers(EDGE)
