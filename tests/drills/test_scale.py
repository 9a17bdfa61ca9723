# SPDX-License-Identifier: Apache-2.0
"""A tier grows by one node and shrinks again, by one line of environment.yaml. Lab only."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from running import ENVIRONMENT, TOPOLOGY, edge_answers, jinku

from jinku.model import Topology, environment_file, load_environment

pytestmark = [
    pytest.mark.long_drill,
    pytest.mark.skipif(ENVIRONMENT.backend != "lab", reason="needs a backend that makes hosts by itself"),
]
MORE = {"name": "edge9", "site": "a", "zone": "dmz", "tiers": ["edge"], "number": 9}


@pytest.fixture
def grown(tmp_path: Path) -> Iterator[Path]:
    """The same environment with one more edge; at the end it is as before."""
    folder = environment_file(os.environ.get("JINKU_ENV") or "lab").parent
    made = tmp_path / ENVIRONMENT.name
    shutil.copytree(folder, made)
    file = made / "environment.yaml"
    told = yaml.safe_load(file.read_text())
    told["nodes"] = [*(told.get("nodes") or []), MORE]
    file.write_text(yaml.safe_dump(told, allow_unicode=True))
    yield made
    jinku("up")


def test_one_more_edge_serves_is_checked_and_goes_again(grown: Path, tmp_path: Path) -> None:
    node = Topology.of(load_environment(grown)).node("edge9")
    plan = jinku("plan", env=grown)
    assert "would make host edge9" in plan.stdout, plan.stdout
    up = jinku("up", env=grown)
    assert "did not come up" not in up.stdout, up.stdout
    assert edge_answers(str(node.address)), "the new edge does not serve"
    assert all(edge_answers(str(other.address)) for other in TOPOLOGY.nodes_of("edge")), "the others do no more"
    assert "nothing changed: changed=0 on every host" in jinku("up", env=grown).stdout

    document = tmp_path / "check.json"
    jinku("check", "--json", str(document), env=grown)
    found = json.loads(document.read_text())
    own = {thing["id"] for thing in found["objects"] if thing["node"] == "edge9"}
    pairs = [
        record["verdict"]
        for record in found["records"]
        if record["object"] in own and record["test"].endswith("test_every_pair_of_nodes_agrees_with_the_flows")
    ]
    assert pairs
    assert set(pairs) == {"conform"}
    bad = [record for record in found["records"] if record["object"] in own and record["verdict"] == "nonconform"]
    assert not [record["test"] for record in bad]

    less = jinku("up")
    assert "removed host edge9" in less.stdout, less.stdout
    assert "did not come up" not in less.stdout, less.stdout
    assert not edge_answers(str(node.address))
    assert all(edge_answers(str(other.address)) for other in TOPOLOGY.nodes_of("edge"))
    assert "nothing changed: changed=0 on every host" in jinku("up").stdout
