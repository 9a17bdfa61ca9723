# SPDX-License-Identifier: Apache-2.0
"""The `tree` action against this machine, into a temporary folder: what it ships, compares, refuses and puts back."""

import grp
import json
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
ME = pwd.getpwuid(os.getuid()).pw_name
MY_GROUP = grp.getgrgid(os.getgid()).gr_name
TEMPLATE = """# {{ ansible_managed }}
{% for name in names %}
name = {{ name }}
{% endfor %}
{% if flag %}
  flag = on
{% endif %}
text = {{ text }}   \\d+ \\\\n 金库
{#- a comment #}

last line without a newline: {{ 5 }}"""


class Role:
    """A role in a temporary folder and the place its files go."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.target = folder, folder / "target"
        self.target.mkdir()
        self.vars: dict[str, Any] = {
            "names": ["a", "b"],
            "flag": True,
            "text": "one {not jinja} 'two'",
            "root": str(self.target),
        }

    def put(self, name: str, text: str) -> None:
        path = self.folder / "roles/sample" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def manifest(self, *entries: dict[str, Any]) -> None:
        own = {"owner": ME, "group": MY_GROUP}
        self.put("manifest.yml", yaml.safe_dump([{**own, **entry} for entry in entries]))

    def run(
        self, *flags: str, tree: dict[str, Any] | None = None, tasks: list[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """Run the role; returns the last task's result of localhost."""
        self.put("tasks/main.yml", yaml.safe_dump(tasks or [{"name": "Ship", "tree": tree or {}}]))
        play = [{"hosts": "localhost", "gather_facts": False, "vars": self.vars, "roles": ["sample"]}]
        (self.folder / "play.yml").write_text(yaml.safe_dump(play))
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
            "ANSIBLE_ROLES_PATH": str(self.folder / "roles"),
            "ANSIBLE_INVENTORY_ENABLED": "host_list",
            "ANSIBLE_CALLBACKS_ENABLED": "results",
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "local"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "remote"),
            "ANSIBLE_CALLBACK_PLUGINS": str(self.folder),
            "RESULTS": str(self.folder / "results.json"),
            "JINKU_CHANGED": str(self.folder / "noted/changed"),
        }
        (self.folder / "results.py").write_text(RESULTS)
        command = [
            Path(sys.executable).parent / "ansible-playbook",
            "play.yml",
            "-i",
            "localhost,",
            "-c",
            "local",
            *flags,
        ]
        done = subprocess.run(
            command, check=False, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120
        )
        results = self.folder / "results.json"
        assert results.exists(), done.stdout + done.stderr
        result: dict[str, Any] = json.loads(results.read_text())
        results.unlink()
        return result


RESULTS = """
import json, os
from ansible.plugins.callback import CallbackBase
class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "results"
    def v2_runner_on_ok(self, result):
        self._keep(result, False)
    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._keep(result, True)
    def _keep(self, result, failed):
        kept = dict(result.result if hasattr(result, "result") else result._result, failed=failed)
        with open(os.environ["RESULTS"], "w") as stream:
            json.dump(kept, stream, default=str)
"""


@pytest.fixture
def role(tmp_path: Path) -> Role:
    return Role(tmp_path)


def test_a_rendered_file_is_byte_identical_to_the_template_module(role: Role) -> None:
    """Roles may move between the two without a change on any host."""
    path = f"{role.target}/etc/a.conf"
    role.put(f"templates{path}.j2", TEMPLATE)
    role.manifest({"path": path, "mode": "0640"})
    other = f"{role.target}/b.conf"
    source = f"{role.folder}/roles/sample/templates{path}.j2"
    role.run(tasks=[{"name": "Template", "ansible.builtin.template": {"src": source, "dest": other, "mode": "0640"}}])
    result = role.run()
    assert result["changed"] is True, result
    assert result["paths_changed"] == [path]
    assert Path(path).read_bytes() == Path(other).read_bytes()
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o640


def test_a_second_run_changes_nothing_and_check_mode_only_tells(role: Role) -> None:
    path = f"{role.target}/a.conf"
    role.put(f"templates{path}.j2", "x = {{ text }}\n")
    role.manifest({"path": path, "mode": "0644"}, {"path": f"{role.target}/d", "state": "directory", "mode": "0750"})
    told = role.run("--check", "--diff")
    assert (told["changed"], Path(path).exists()) == (True, False)
    assert role.run()["changed"] is True
    assert role.run()["changed"] is False
    assert role.run("--check", "--diff")["changed"] is False
    Path(path).write_text("by hand\n")
    told = role.run("--check", "--diff")
    assert told["paths_changed"] == [path]
    assert (told["diff"][0]["before"], told["diff"][0]["after"]) == ("by hand\n", "x = one {not jinja} 'two'\n")
    assert Path(path).read_text() == "by hand\n"
    Path(f"{role.target}/d").chmod(0o700)
    assert role.run()["paths_changed"] == [path, f"{role.target}/d"]


def test_what_an_unfinished_run_changed_is_told_again(role: Role) -> None:
    """Its handlers were lost: a service would keep its old settings for ever, and every later run would say ok."""
    noted = role.folder / "noted/changed"
    noted.parent.mkdir()
    path, purged = f"{role.target}/a.conf", f"{role.target}/d"
    role.put(f"files{path}", "new\n")
    role.manifest({"path": path, "mode": "0644"}, {"path": purged, "state": "directory", "mode": "0750", "purge": True})
    Path(purged).mkdir(0o750)
    Path(purged, "foreign").touch()
    changed = [path, f"{purged}/foreign"]
    assert role.run()["paths_changed"] == changed
    noted.write_text(noted.read_text() + "/of/another/role\n")
    again = role.run("--check", "--diff")
    assert (again["changed"], again["paths_changed"]) == (True, changed)
    assert role.run()["paths_changed"] == changed
    noted.unlink()  # as hardening/integrity does at the end of a run
    assert role.run()["changed"] is False


def test_a_refused_file_changes_nothing_at_all(role: Role) -> None:
    good, bad = f"{role.target}/good", f"{role.target}/bad"
    role.put(f"files{good}", "new\n")
    role.put(f"files{bad}", "new\n")
    Path(good).write_text("old\n")
    role.manifest({"path": good, "mode": "0644"}, {"path": bad, "mode": "0644", "validate": "grep -q never %s"})
    result = role.run()
    assert result["failed"] is True
    assert "refused by `grep -q never %s`" in result["msg"]
    assert (Path(good).read_text(), Path(bad).exists()) == ("old\n", False)


def test_a_tree_refused_in_its_place_is_put_back(role: Role) -> None:
    old, new = f"{role.target}/old", f"{role.target}/folder/new"
    role.put(f"files{old}", "new\n")
    role.put(f"files{new}", "new\n")
    Path(old).write_text("old\n")
    role.manifest(
        {"path": f"{role.target}/folder", "state": "directory", "mode": "0755"},
        {"path": new, "mode": "0644"},
        {"path": old, "mode": "0644"},
    )
    result = role.run(tree={"validate": f"grep -q old {old}"})
    assert result["failed"] is True, result
    assert Path(old).read_text() == "old\n"
    assert not Path(f"{role.target}/folder").exists()
    assert role.run(tree={"validate": f"grep -q new {old}"})["changed"] is True


def test_the_whole_tree_can_be_judged_where_it_is_staged(role: Role) -> None:
    path = f"{role.target}/a"
    role.put(f"files{path}", "content\n")
    role.manifest({"path": path, "mode": "0644"})
    assert role.run(tree={"validate": f"grep -q other %s{path}"})["failed"] is True
    assert not Path(path).exists()
    assert role.run(tree={"validate": f"grep -q content %s{path}"})["changed"] is True


def test_links_loops_purge_and_absent(role: Role) -> None:
    folder = f"{role.target}/d"
    Path(f"{folder}/stray/deep").mkdir(parents=True)
    Path(f"{role.target}/gone").write_text("x")
    role.vars["people"] = [{"name": "li"}, {"name": "wang"}]
    role.put("templates/person.j2", "{{ item.name }}\n")
    role.manifest(
        {"path": folder, "state": "directory", "mode": "0755", "purge": True},
        {"path": folder + "/{{ item.name }}", "mode": "0600", "source": "person", "loop": "{{ people }}"},
        {"path": f"{folder}/link", "state": "link", "target": "li"},
        {"path": f"{role.target}/gone", "state": "absent"},
    )
    assert role.run()["changed"] is True
    assert sorted(path.name for path in Path(folder).iterdir()) == ["li", "link", "wang"]
    assert (Path(f"{folder}/wang").read_text(), str(Path(f"{folder}/link").readlink())) == ("wang\n", "li")
    assert not Path(f"{role.target}/gone").exists()
    assert role.run()["changed"] is False


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": "/x", "mode": "0644", "modes": "1"}, "modes: unknown key"),
        ({"path": "x", "mode": "0644"}, "not a plain absolute path"),
        ({"path": "/x/../y", "mode": "0644"}, "not a plain absolute path"),
        ({"path": "/x", "mode": "644"}, "not an octal mode"),
        ({"path": "/x", "state": "folder"}, "state 'folder' is unknown"),
        ({"path": "/x", "state": "link"}, "a link without a target"),
        ({"path": "/nothing", "mode": "0644"}, "neither files/nothing nor templates/nothing.j2"),
        ({"path": "/key", "mode": "0600"}, "holds a private key"),
    ],
)
def test_a_wrong_manifest_is_named(role: Role, entry: dict[str, Any], message: str) -> None:
    role.put("files/x", "x")
    role.put("files/key", "-----BEGIN RSA " + "PRIVATE KEY-----\n")
    role.manifest(entry)
    result = role.run()
    assert result["failed"] is True
    assert message in result["msg"]
    assert "manifest.yml: " in result["msg"]


def test_an_unknown_owner_is_an_error_in_a_run_and_a_difference_in_check_mode(role: Role) -> None:
    path = f"{role.target}/a"
    role.put(f"files{path}", "x")
    role.manifest({"path": path, "mode": "0644", "owner": "nobody-of-that-name"})
    assert role.run("--check")["changed"] is True
    assert "'nobody-of-that-name' does not exist" in role.run()["msg"]
