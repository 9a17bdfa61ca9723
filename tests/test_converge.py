# SPDX-License-Identifier: Apache-2.0
"""What `jinku up` takes for a failure of a host is what Ansible counts as one in the end."""

from pathlib import Path

import pytest
import yaml

from jinku import converge

FAILS = {"name": "Fail", "ansible.builtin.command": "false", "changed_when": False}
SAYS = {"name": "Say", "ansible.builtin.debug": {"msg": "it was not begun early"}}


@pytest.mark.parametrize(
    ("tasks", "code", "troubles"),
    [
        ([{"name": "Try", "block": [FAILS], "rescue": [SAYS]}], 0, 0),
        ([{"name": "Try", "block": [FAILS], "rescue": [FAILS | {"name": "Fail, too"}]}], 2, 2),
        ([FAILS], 2, 1),
    ],
)
def test_what_a_rescue_took_up_is_no_trouble(tmp_path: Path, monkeypatch, tasks, code, troubles):
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    monkeypatch.setenv("ANSIBLE_INVENTORY_ENABLED", "host_list")
    play = str(tmp_path / "play.yml")
    result = converge.run(tmp_path, ["-i", "localhost,", "-c", "local"], lambda *_: None, playbook=play)
    assert (result.code, len(result.troubles)) == (code, troubles), result.other
