# SPDX-License-Identifier: Apache-2.0
"""Two environments of one name: the second is refused before anything is touched, one that only moved is taken over and told."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from command_line import run

from jinku import origin
from jinku.cli.exit_codes import ExitCode
from jinku.cli.selection import Selection
from jinku.places import CHECKOUT, Places

VERBS = (
    ["plan"],
    ["up"],
    ["destroy", "--yes"],
    ["status"],
    ["check"],
    ["ssh", "db1"],
    ["report"],
    ["doctor"],
    ["render"],
)


@pytest.fixture(autouse=True)  # before any other: a mark of the module would come after a test's own
def _places(own_places):
    """No test here touches anybody's state."""


def made(folder: Path) -> Path:
    """A laboratory, named after its folder."""
    assert run("init", folder) == ExitCode.OK
    return folder


@pytest.fixture
def first(tmp_path):
    """A laboratory that has held its state."""
    folder = made(tmp_path / "one/mine")
    with Selection.of(str(folder)).hold("up"):
        pass
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_folder_of_the_same_name_is_refused_and_nothing_is_touched(first, tmp_path, capsys):
    second = made(tmp_path / "two/mine")
    before = contents(tmp_path / "state")
    for words in VERBS:
        assert run(*words, "--env", second) == ExitCode.USAGE
        told = capsys.readouterr().err
        assert (
            f"{second}/environment.yaml: name: is 'mine', and the state in {tmp_path}/state/mine is that of {first}/"
            in told
        )
        assert (
            f"; another name, or, where both are meant to be the same environment, delete the other file or {tmp_path}"
            in told
        )
    assert contents(tmp_path / "state") == before
    for words in (["nodes"], ["flows"], ["render", "--output", tmp_path / "out"]):  # a copy may be looked at
        assert run(*words, "--env", second) == ExitCode.OK


@pytest.mark.usefixtures("first")
def test_a_person_is_not_asked_to_confirm_what_is_refused(tmp_path, capsys):
    assert run("destroy", "--env", made(tmp_path / "two/mine")) == ExitCode.USAGE
    assert "Type the environment's name" not in capsys.readouterr().out


def test_a_folder_that_moved_keeps_its_state_and_that_is_said_once(first, tmp_path, capsys):
    moved = tmp_path / "two/mine"
    shutil.move(first, moved)
    said = []
    for _ in range(2):
        with Selection.of(str(moved)).hold("up"):
            said.append(capsys.readouterr().err)
    assert (
        f"was that of {first}/environment.yaml, where there is none of this name any more; it is this one's" in said[0]
    )
    assert said[1] == ""


@pytest.mark.parametrize("other", ["renamed", "no longer there", "a folder"])
def test_what_is_no_environment_of_this_name_any_more_does_not_keep_the_name(first, tmp_path, other):
    file = first / "environment.yaml"
    second = made(tmp_path / "two/mine")
    if other == "renamed":
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"name": "other"}))
    else:
        shutil.rmtree(first)
        if other == "a folder":
            first.touch()
    assert Selection.of(str(second)).places.name == "mine"


def test_a_file_that_is_being_written_keeps_its_name(first, tmp_path):
    (first / "environment.yaml").write_text("name: [mine")
    assert run("status", "--env", made(tmp_path / "two/mine")) == ExitCode.USAGE


def test_the_remedy_hands_the_state_over(first, tmp_path):
    second = made(tmp_path / "two/mine")
    Places("mine").origin.unlink()
    with Selection.of(str(second)).hold("up"):
        pass
    assert run("status", "--env", first) == ExitCode.USAGE


def test_one_folder_reached_in_two_ways_is_one(first, tmp_path):
    (tmp_path / "link").symlink_to(first)
    assert Selection.of(str(tmp_path / "link")).places.name == "mine"


def test_the_bundled_environment_of_another_checkout_goes_on(tmp_path, monkeypatch):
    """Jinku is upgraded beside the one before: its `lab` is the same environment, and the one before is still there."""
    for checkout in ("earlier", "this"):
        made(tmp_path / checkout / "inventories/lab")
        monkeypatch.setattr(origin, "INVENTORIES", tmp_path / checkout / "inventories")
        with Selection.of(str(tmp_path / checkout / "inventories/lab")).hold("up"):
            pass
    assert Places("lab").origin.read_text() == "lab/environment.yaml\n"


@pytest.mark.parametrize("name", ["acme", "example"])
def test_an_own_environment_in_two_checkouts_is_refused_as_in_any_two_folders(tmp_path, monkeypatch, capsys, name):
    """Only what comes with Jinku is the same in both: two people's acme, or a branch of it, are two."""
    files = []
    for checkout in ("one", "two"):
        folder = made(tmp_path / checkout / f"inventories/{'lab' if name == 'example' else name}")
        file = folder / "environment.yaml"
        file.write_text(file.read_text().replace("name: lab ", f"name: {name} "))
        files.append(file)
    monkeypatch.setattr(origin, "INVENTORIES", tmp_path / "one/inventories")
    with Selection.of(str(files[0])).hold("up"):
        pass
    assert Places(name).origin.read_text() == f"{files[0]}\n"
    monkeypatch.setattr(origin, "INVENTORIES", tmp_path / "two/inventories")
    capsys.readouterr()
    assert run("status", "--env", files[1]) == ExitCode.USAGE
    told = capsys.readouterr().err
    assert (
        f"{files[1]}: name: is {name!r}, and the state in {tmp_path}/state/{name} is that of {files[0]}; another name, or"
        in told
    )
    assert f"where both are meant to be the same environment, delete the other file or {Places(name).origin}" in told
    files[0].unlink()
    with Selection.of(str(files[1])).hold("up"):
        assert f"was that of {files[0]}, where there is none" in capsys.readouterr().err


def test_what_was_remembered_without_its_checkout_goes_on_without_a_word(tmp_path, monkeypatch, capsys):
    """As every environment below inventories/ was at first."""
    folder = made(tmp_path / "inventories/acme")
    monkeypatch.setattr(origin, "INVENTORIES", tmp_path / "inventories")
    places = Places("acme")
    places.make()
    places.origin.write_text("acme/environment.yaml\n")
    capsys.readouterr()
    with Selection.of(str(folder)).hold("up"):
        assert capsys.readouterr().err == ""
    assert places.origin.read_text() == f"{folder}/environment.yaml\n"


def test_the_examples_are_those_of_the_checkout():
    tracked = {path.parent.name for path in CHECKOUT.glob("inventories/*/environment.yaml")}
    assert set(origin.EXAMPLES) <= tracked
    assert all(
        yaml.safe_load((CHECKOUT / f"inventories/{name}/environment.yaml").read_text())["name"] == name
        for name in origin.EXAMPLES
    )


def test_what_a_jinku_from_before_made_belongs_to_who_comes_first(tmp_path):
    places = Places("mine")
    places.make()
    assert origin.remember(places, made(tmp_path / "one/mine") / "environment.yaml") == ""


def test_a_plan_changes_nothing_and_takes_no_state(tmp_path, monkeypatch):
    """Whoever looks at a branch of the environment first must not shut its owner out."""
    monkeypatch.setattr("jinku.cli.plan.preflight", lambda _env, **_more: None)
    monkeypatch.setattr("jinku.cli.sites.run", lambda *_words: [])
    assert run("plan", "--env", made(tmp_path / "one/mine")) == ExitCode.OK
    assert not Places("mine").origin.exists()


def test_destroy_of_a_laboratory_frees_its_name(first, tmp_path, monkeypatch):
    monkeypatch.setattr("jinku.cli.sites.run", lambda *_words: [])
    monkeypatch.setattr("jinku.cli.destroy._sweep", lambda *_words: [])
    assert run("destroy", "--yes", "--env", first) == ExitCode.OK
    assert json.loads(Places("mine").journal.read_text())["ok"] is True
    assert Selection.of(str(made(tmp_path / "two/mine"))).places.name == "mine"
