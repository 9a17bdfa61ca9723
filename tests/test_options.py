# SPDX-License-Identifier: Apache-2.0
"""The options of all roles are validated once, before a host is asked for anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleActionFail

REPOSITORY = Path(__file__).resolve().parent.parent
IMPORT = "ansible.builtin.import_role"
#: No host answers: whoever connects to one is told so.
NOWHERE = "ansible_ssh_common_args=-oProxyCommand=false"


def converge(folder: Path, hosts: dict[str, dict[str, object]], *arguments: str) -> str:
    """Run site.yml on the lab's inventory with these variables of hosts; returns what Ansible says."""
    (folder / "hosts.yaml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    playbook = Path(sys.executable).with_name("ansible-playbook")
    sources = ("-i", "inventories/jinku.yaml", "-i", str(folder / "hosts.yaml"))
    more = {"JINKU_ENV": "lab", "JINKU_STATE_DIR": str(folder), "ANSIBLE_INVENTORY_ENABLED": "jinku,yaml"}
    done = subprocess.run(
        [playbook, "site.yml", *sources, "-e", NOWHERE, *arguments],
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, **more, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_wrong_options_are_named_with_host_and_role_all_at_once_and_no_host_is_asked(tmp_path: Path) -> None:
    told = converge(
        tmp_path,
        {
            "crm1": {"crm_threads": "many"},
            "sec1": {"vault_seal": "{{ nowhere }}"},
            "db1": {"firewall_revert_seconds": "soon", "crm_threads": "x"},
        },
    )
    assert "crm1: crm: argument 'crm_threads' is of type" in told
    assert "sec1: vault: vault_seal: 'nowhere' is undefined" in told
    assert "db1: firewall: argument 'firewall_revert_seconds' is of type" in told
    # The role crm does not run there.
    assert "db1: crm" not in told
    assert "unreachable=1" not in told


def test_right_options_are_no_obstacle(tmp_path: Path) -> None:
    told = converge(tmp_path, {})
    assert "unreachable=1" in told
    assert "failed=1" not in told


def test_a_part_of_a_run_is_validated_too(tmp_path: Path) -> None:
    told = converge(tmp_path, {"crm1": {"crm_threads": "many"}}, "--limit", "crm1", "--tags", "crm")
    assert "crm1: crm: argument 'crm_threads' is of type" in told


def test_every_role_of_the_site_is_in_the_check() -> None:
    """A `roles:` list, or an import without the flag, would be validated a second time, host by host."""
    plays = yaml.safe_load((REPOSITORY / "site.yml").read_text())
    first = plays[0]["pre_tasks"][0]
    assert plays[0]["hosts"] == "all"
    assert first["options"] == {"playbook": "site.yml"}
    assert first["tags"] == ["always"]
    assert not [play["name"] for play in plays if "roles" in play]
    imports = [task for play in plays for part in ("pre_tasks", "tasks", "post_tasks") for task in play.get(part, [])]
    assert {task[IMPORT]["rolespec_validate"] for task in imports if IMPORT in task} == {False}


@pytest.mark.parametrize(
    ("pattern", "hosts"),
    [("all", {"a", "b", "c"}), ("vault", {"b"}), ("all:!vault", {"a", "c"}), ("all:&vault", {"b"}), ("c", {"c"})],
)
def test_a_plays_hosts_are_read_as_ansible_reads_them(
    pattern: str, hosts: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "plugins/action"))
    import options

    assert options.named(pattern, {"all": ["a", "b", "c"], "vault": ["b"]}) == hosts


@pytest.mark.parametrize("pattern", ["site_*", "vault[0]", "~v.*"])
def test_a_pattern_that_would_validate_nothing_is_refused(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "plugins/action"))
    import options

    with pytest.raises(AnsibleActionFail, match="is a pattern"):
        options.named(pattern, {"all": ["a"]})
