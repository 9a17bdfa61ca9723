# SPDX-License-Identifier: Apache-2.0
"""The wrapped token of an enrolment is in no output of Ansible, neither when it works nor when the host refuses it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jinku.places import CHECKOUT

TOKEN = "hvs." + "abcdefgh" * 4
ROLE = "11111111-abcdefgh"
#: The real action on a host that answers as it is told; only the vault, which makes the tokens, is stood in for.
ACTION = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("real_vault", {str(CHECKOUT / "plugins/action/vault.py")!r})
real = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real)
class ActionModule(real.ActionModule):
    def _wrap(self):
        made = {{"role_id": {ROLE!r}, "token": {TOKEN!r}}}
        return self._result([], bootstraps={{name: made for name in self._task.args["hosts"]}})
    def _low_level_execute_command(self, command, in_data=None, **more):
        assert {TOKEN!r} in in_data.decode() and {TOKEN!r} not in command
        return {{"rc": CODE, "stdout": "", "stderr": "jinku-enrol: the vault refuses {TOKEN}: no such role " + {ROLE!r}}}
"""
PLAY = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.set_fact": {"__enrol_state": {"stdout": '{"enrolled": false} '}}},
            {"ansible.builtin.include_tasks": str(CHECKOUT / "roles/enrol/tasks/enrol.yml")},
        ],
    }
]


@pytest.mark.parametrize("callback", ["default", "jinku_events"])
@pytest.mark.parametrize("code", [0, 1])
def test_no_output_shows_the_token_and_a_refusal_keeps_its_words(tmp_path: Path, code: int, callback: str) -> None:
    (tmp_path / "action").mkdir()
    (tmp_path / "action/vault.py").write_text(ACTION.replace("CODE", str(code)))
    (tmp_path / "play.yml").write_text(json.dumps(PLAY))
    variables = {
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_ACTION_PLUGINS": str(tmp_path / "action"),
        "ANSIBLE_STDOUT_CALLBACK": callback,
        "ANSIBLE_INVENTORY_ENABLED": "host_list",
        "ANSIBLE_LOG_PATH": str(tmp_path / "log"),
    }
    playbook = Path(sys.executable).with_name("ansible-playbook")
    command = [playbook, "-vvv", "--diff", "-i", "here,", "-c", "local", tmp_path / "play.yml"]
    done = subprocess.run(
        command, env={**os.environ, **variables}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr + ((tmp_path / "log").read_text() if (tmp_path / "log").exists() else "")
    assert (done.returncode != 0) is bool(code), said
    assert TOKEN not in said
    assert ROLE not in said
    assert ("the vault refuses (hidden): no such role (hidden)" in said) is bool(code)
