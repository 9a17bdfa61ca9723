# SPDX-License-Identifier: Apache-2.0
"""`jinku init`: what it writes can be used, what it cannot use it says, and what cannot be written is no traceback."""

from pathlib import Path

import pytest
import yaml
from command_line import run

from jinku.cli.exit_codes import ExitCode
from jinku.evidence.catalogue import load_catalogue
from jinku.evidence.declared import load_declared
from jinku.model import Topology, load_environment
from jinku.model.fields import EnvironmentName, form_of


@pytest.fixture(autouse=True)  # before any other: a mark of the module would come after a test's own
def _places(own_places):
    """No test here touches anybody's state."""


@pytest.mark.parametrize("profile", ["small", "standard"])
def test_init_writes_a_laboratory_that_can_be_used_at_once(tmp_path, capsys, profile):
    folder = tmp_path / "acme"
    assert run("init", folder, "--profile", profile) == 0
    assert run("render", "--env", folder, "--output", tmp_path / "out") == 0
    written = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert {"inventory.json", "flows.csv", "diagram.zh.svg", "firewall/router-a.nft"} <= written
    assert run("init", folder) == ExitCode.USAGE
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize("profile", ["small", "standard"])
def test_what_init_leaves_commented_out_can_be_used(tmp_path, profile):
    folder = tmp_path / "acme"
    assert run("init", folder, "--profile", profile) == 0
    file = folder / "environment.yaml"
    head, tail = file.read_text().split("# Beyond the profile, where you need it:\n")
    file.write_text(head + "".join(line.removeprefix("# ") + "\n" for line in tail.splitlines()))
    assert any(flow.port == 9100 for flow in Topology.of(load_environment(file)).allowed())
    controls = folder / "controls.yaml"
    catalogue = load_catalogue()
    assert not load_declared(folder, catalogue).waivers
    head, tail = controls.read_text().split("schema_version: 1\n")
    controls.write_text("schema_version: 1\n" + "".join(line.removeprefix("# ") + "\n" for line in tail.splitlines()))
    assert load_declared(folder, catalogue).waivers


@pytest.mark.parametrize("backend", ["lab", "existing"])
def test_init_says_what_this_version_cannot_bring_up(tmp_path, capsys, backend):
    """`up` refuses the profile standard: whoever starts with it hears that at once, and not after the filling in."""
    assert run("init", tmp_path / "big", "--profile", "standard", "--backend", backend) == 0
    out = capsys.readouterr().out
    assert (
        "profile: has 3 nodes of the tier vault (vault1, vault2, vault3), which `jinku up` cannot join yet; small"
        in out
    )
    assert "`jinku up --env" not in out
    if backend == "lab":
        for verb in ("doctor", "plan", "up"):
            assert run(verb, "--env", tmp_path / "big") == ExitCode.USAGE
            assert "cannot join yet" in capsys.readouterr().err


def test_init_for_existing_hosts_says_what_is_to_be_filled_in(tmp_path, capsys):
    assert run("init", tmp_path / "prod", "--backend", "existing") == 0
    out = capsys.readouterr().out
    assert "operators.0.keys" in out
    assert "outside.mirror" in out
    assert "`jinku contact --env" in out
    written = yaml.safe_load((tmp_path / "prod/environment.yaml").read_text())
    assert written["existing"] == {"user": "root", "interface": "eth0"}


@pytest.mark.parametrize("backend", ["lab", "existing"])
def test_init_refuses_a_name_that_cannot_be_one_and_leaves_nothing(tmp_path, capsys, backend):
    assert run("init", tmp_path / "made/No_Name", "--backend", backend) == ExitCode.USAGE
    assert "name: is 'No_Name'" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("backend", ["lab", "existing"])
@pytest.mark.parametrize("last", ["a: b", "a #b", '"a"', "[", "{x", "-", "@", "1", "no", "null", "a\nb", "x" * 21])
def test_init_refuses_what_yaml_would_read_as_something_else_in_a_line(tmp_path, capsys, last, backend):
    """`a: b` ended in a traceback of YAML's, with half of the files made."""
    assert run("init", tmp_path / "made" / last, "--backend", backend) == ExitCode.USAGE
    said = capsys.readouterr()
    assert (
        f"environment.yaml: name: is {last!r}; {form_of(EnvironmentName).words}, and no word of YAML such as "
        in said.err
    )
    assert "Traceback" not in said.err
    assert said.out == ""
    assert not (tmp_path / "made").exists()


def test_init_takes_the_name_of_the_folder_that_a_path_leads_to(tmp_path, capsys):
    for path, folder in (("mine/sub/..", "mine"), ("other/sub/../../third", "third")):
        assert run("init", f"{tmp_path}/{path}") == ExitCode.OK
        assert load_environment(tmp_path / folder).name == folder
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(
        ["mine", "third", *2 * ["environment.yaml", "controls.yaml"]]
    )
    capsys.readouterr()
    for bare in ("", " ", ".", ".."):  # no path, and no name below inventories/
        assert run("init", bare) == ExitCode.USAGE
        assert f"name: is {bare!r}; " in capsys.readouterr().err
    assert run("init", "/..") == ExitCode.USAGE
    assert "name: is ''; " in capsys.readouterr().err


#: Where nobody can write, root included.
UNWRITABLE = {
    "kernel's": "/proc/x",
    "read-only": "/sys/x",
    "file": "file",
    "through a file": "file/x",
    "too long": f"made/{'x' * 300}/x",
    "loop": "loop/x",
}


@pytest.mark.parametrize("wrong", UNWRITABLE)
def test_a_place_that_cannot_be_written_is_told_in_a_line(tmp_path, monkeypatch, capsys, wrong):
    lab = tmp_path / "mine"
    assert run("init", lab) == ExitCode.OK
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    place = tmp_path / UNWRITABLE[wrong]
    monkeypatch.setattr("jinku.cli.check.is_up", lambda _places: True)
    asked = [(("init", place), "NAME"), (("render", "--env", lab, "--output", place), "--output")]
    asked += [(("check", "--env", lab, "--json", place / "check.json"), "--json")]
    capsys.readouterr()
    for words, argument in asked:
        assert run(*words) == ExitCode.USAGE
        said = capsys.readouterr().err
        assert str(place) in said
        assert argument in said
        assert len(said.splitlines()) <= 4, said  # click has words of its own for a file that is no folder
        assert words[0] != "init" or not (tmp_path / "made").exists()
    assert not (tmp_path / "state").exists()


def test_init_takes_back_what_it_made_when_it_cannot_go_on(tmp_path, monkeypatch, capsys):
    """An environment.yaml without its controls.yaml would be there already at the next try."""
    write = Path.write_text

    def refuse(path: Path, *words, **more):
        if path.name == "controls.yaml":
            raise PermissionError(13, "Permission denied", str(path))
        return write(path, *words, **more)

    monkeypatch.setattr(Path, "write_text", refuse)
    assert run("init", tmp_path / "made/deep/mine") == ExitCode.USAGE
    assert (
        f"cannot be written ({tmp_path}/made/deep/mine/controls.yaml: Permission denied); " in capsys.readouterr().err
    )
    assert not (tmp_path / "made").exists()
