# SPDX-License-Identifier: Apache-2.0
"""Ansible reads environment.yaml itself: stock `ansible-inventory` and `ansible-playbook` work in the checkout."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from jinku.model.inventory import inventory
from jinku.model.loading import load_environment
from jinku.model.topology import Topology
from jinku.places import Places

REPOSITORY = Path(__file__).resolve().parent.parent


def ask(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-inventory in the checkout."""
    command = [Path(sys.executable).parent / "ansible-inventory", *options]
    return subprocess.run(
        command,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def plain(text: str) -> Any:
    """Read ansible-inventory's JSON; it marks texts that are never taken for templates."""
    return json.loads(text, object_hook=lambda found: found.get("__ansible_unsafe", found))


def test_the_plugin_says_what_the_model_says(tmp_path: Path) -> None:
    done = ask("--list", JINKU_ENV="standard", JINKU_STATE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    said = plain(done.stdout)
    topology = Topology.of(load_environment("standard"))
    expected = inventory(topology, Places(topology.env.name))
    assert set(said["_meta"]["hostvars"]) == {node.name for node in topology.nodes}
    assert said["postgres"]["hosts"] == ["db1", "db2", "db3", "db4"]
    told = said["_meta"]["hostvars"]["db2"]
    for name in ("jinku_node", "jinku_hosts", "jinku_services", "jinku_firewall_ruleset", "ansible_host"):
        assert told[name] == expected["_meta"]["hostvars"]["db2"][name]


def test_an_environment_is_given_as_a_file_or_a_folder(tmp_path: Path) -> None:
    text = (REPOSITORY / "inventories/small/environment.yaml").read_text()
    (tmp_path / "environment.yaml").write_text(text)
    state = str(tmp_path / "state")  # never this machine's own, which another one of the name may have
    assert "@zone_data:" in ask("--graph", "-i", str(tmp_path / "environment.yaml"), JINKU_STATE_DIR=state).stdout
    assert "@zone_data:" in ask("--graph", JINKU_ENV=str(tmp_path), JINKU_STATE_DIR=state).stdout


def test_a_wrong_environment_stops_ansible_with_the_models_words(tmp_path: Path) -> None:
    text = (REPOSITORY / "inventories/small/environment.yaml").read_text()
    (tmp_path / "environment.yaml").write_text(text.replace("level:", "levle:"))
    done = ask("--graph", JINKU_ENV=str(tmp_path))
    assert done.returncode != 0
    assert "levle: unknown key; did you mean 'level'?" in done.stderr.replace("\n", " ")


def test_the_second_of_two_environments_of_one_name_gets_nothing_of_the_first(tmp_path: Path) -> None:
    """Else a stock `ansible-playbook site.yml` changes the hosts of the first by what the second says."""
    text = (REPOSITORY / "inventories/small/environment.yaml").read_text()
    first, second = (tmp_path / folder / "environment.yaml" for folder in ("first", "second"))
    for file in (first, second):
        file.parent.mkdir()
        file.write_text(text)
    state = tmp_path / "state/small"
    state.mkdir(parents=True)
    (state / "origin").write_text(f"{first}\n")
    options = {"JINKU_STATE_DIR": str(tmp_path / "state"), "COLUMNS": "1000"}
    own = ask("--host", "db1", JINKU_ENV=str(first.parent), **options)
    assert str(state) in own.stdout
    for source in ({"JINKU_ENV": str(second.parent)}, {"JINKU_ENV": str(second)}):
        done = ask("--host", "db1", **source, **options)
        assert done.returncode != 0
        assert str(state) not in done.stdout
        said = " ".join(done.stderr.split())
        assert f"{second}: name: is 'small', and the state in {state} is that of {first}; another name, or" in said
        assert "Traceback" not in said
    given = ask("--host", "db1", "-i", str(second), **options)
    assert given.returncode != 0


def test_the_keys_of_the_labs_operators_reach_the_hosts(tmp_path: Path) -> None:
    folder = tmp_path / "lab/ssh/operators"
    folder.mkdir(parents=True)
    (folder / "li-na.pub").write_text("ssh-ed25519 AAAAC3Nz li-na\n")
    said = plain(ask("--host", "ops1", JINKU_ENV="lab", JINKU_STATE_DIR=str(tmp_path)).stdout)
    assert {one["name"]: one["keys"] for one in said["jinku_operators"]}["li-na"] == ["ssh-ed25519 AAAAC3Nz li-na"]
