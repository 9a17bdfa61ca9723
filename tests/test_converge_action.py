# SPDX-License-Identifier: Apache-2.0
"""The actions `converge` and `units` against this machine: what they run, what they count as a change, what they refuse."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
#: Knows one unit that runs, one that stands still, and writes down what it is told to do.
SYSTEMCTL = """#!/bin/sh
if [ "$1" = show ]; then
    shift 3
    for unit; do
        case $unit in
            right.*) printf 'UnitFileState=enabled\\nActiveState=active\\nSubState=running\\n\\n' ;;
            begins.*) printf 'UnitFileState=enabled\\nActiveState=activating\\nSubState=start\\n\\n' ;;
            falls.*) printf 'UnitFileState=enabled\\nActiveState=activating\\nSubState=auto-restart\\n\\n' ;;
            *) printf 'UnitFileState=disabled\\nActiveState=inactive\\n\\n' ;;
        esac
    done
    exit
fi
echo "$*" >>"$SAID"
case "$*" in *broken*) echo 'Job for broken.service failed' >&2; exit 1 ;; esac
"""


class Role:
    """A role in a temporary folder, on this machine as its only host."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, folder / "said"
        (folder / "bin").mkdir()
        systemctl = folder / "bin/systemctl"
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)

    def put(self, name: str, text: str) -> None:
        path = self.folder / "roles/sample" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, action: str, arguments: dict[str, Any] | None, *flags: str) -> dict[str, Any]:
        """Run one task of the role; returns what `jinku` is told: status (ok, changed, failed), diff and text."""
        self.put("tasks/main.yml", yaml.safe_dump([{"name": "Try", action: arguments}]))
        play = [{"hosts": "localhost", "gather_facts": False, "roles": ["sample"]}]
        (self.folder / "play.yml").write_text(yaml.safe_dump(play))
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
            "ANSIBLE_INVENTORY_ENABLED": "host_list",
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "local"),
            "ANSIBLE_STDOUT_CALLBACK": "jinku_events",
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "SAID": str(self.said),
        }
        playbook = Path(sys.executable).with_name("ansible-playbook")
        done = subprocess.run(
            [playbook, "play.yml", "-i", "localhost,", "-c", "local", *flags],
            check=False,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        events = [json.loads(line[7:]) for line in done.stdout.split("\n") if line.startswith("\x1ejinku ")]
        assert events, done.stdout + done.stderr
        assert events[-1]["event"] == "stats", done.stdout + done.stderr
        return next((event for event in events if event["event"] == "result"), {"status": "ok"})


@pytest.fixture
def role(tmp_path: Path) -> Role:
    return Role(tmp_path)


def test_a_script_without_a_word_changed_nothing(role: Role) -> None:
    role.put("files/converge.sh", "true\n")
    assert role.run("converge", None)["status"] == "ok"


def test_each_line_of_a_script_is_a_change(role: Role) -> None:
    role.put("files/converge.sh", 'echo "unit $1: started"\necho "$#"\n')
    # An argument that is empty stays one: the others would take its place.
    done = role.run("converge", {"arguments": ["a b'c", "{% for one in [] %}{{ one }}{% endfor %}"]})
    assert done["status"] == "changed"
    assert "+unit a b'c: started" in done["diff"]
    assert "+2" in done["diff"]


def test_a_script_is_told_to_change_nothing_in_check_mode(role: Role) -> None:
    role.put("files/converge.sh", 'echo "$@"\n')
    assert "+one --check" in role.run("converge", {"arguments": ["one"]}, "--check", "--diff")["diff"]


def test_a_script_that_ends_early_fails_in_its_own_words(role: Role) -> None:
    role.put(
        "files/converge.sh", "set -eu\necho begun\nfalse || { echo 'key: not written' >&2; exit 3; }\necho never\n"
    )
    done = role.run("converge", None)
    assert (done["status"], done["text"]) == ("failed", "key: not written")


def test_no_command_of_a_script_reads_the_rest_of_it_and_a_cut_off_one_does_nothing(role: Role) -> None:
    role.put("files/converge.sh", "cat >/dev/null\necho all of it\n")
    assert "+all of it" in role.run("converge", None)["diff"]
    role.put("files/converge.sh", "echo begun\nif true; then\n")
    done = role.run("converge", None)
    assert done["status"] == "failed"
    assert "syntax error" in done["text"]


def test_a_text_of_the_role_comes_as_it_is(role: Role) -> None:
    role.put("files/converge.sh", "main() { the_sql; }\nmain\n")
    role.put("files/the.sql", "SELECT 'it''s' || $1 -- \\d `x`\n")
    assert "+SELECT 'it''s' || $1 -- \\d `x`" in role.run("converge", {"texts": {"the_sql": "the.sql"}})["diff"]


def test_units_that_run_are_left_alone(role: Role) -> None:
    assert role.run("units", {"names": ["right.service", "right.timer"]})["status"] == "ok"
    assert not role.said.exists()


def test_a_unit_that_falls_again_and_again_does_not_run(role: Role) -> None:
    done = role.run("units", {"names": ["begins.service", "falls.service"]})
    assert "+falls.service: started" in done["diff"]
    assert "begins.service" not in done["diff"]


def test_units_that_do_not_are_enabled_and_started_together(role: Role) -> None:
    done = role.run("units", {"names": ["right.service", "one.service", "two.timer"]})
    assert "+one.service: enabled\n+two.timer: enabled\n+one.service: started\n+two.timer: started" in done["diff"]
    wanted = ["daemon-reload", "enable --quiet one.service two.timer", "start one.service two.timer"]
    assert role.said.read_text().splitlines() == wanted


def test_units_are_only_looked_at_in_check_mode(role: Role) -> None:
    assert role.run("units", {"names": ["one.service"]}, "--check")["status"] == "changed"
    assert not role.said.exists()


@pytest.mark.parametrize(
    ("names", "words"), [(["broken.service"], "Job for broken.service failed"), (["; reboot"], "is no unit")]
)
def test_a_unit_that_does_not_start_or_is_none_is_refused(role: Role, names: list[str], words: str) -> None:
    done = role.run("units", {"names": names})
    assert done["status"] == "failed"
    assert words in done["text"]
