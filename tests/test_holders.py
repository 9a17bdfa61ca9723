# SPDX-License-Identifier: Apache-2.0
"""Who left and still holds a share of the vault's key is named by whoever looks at the environment."""

import io
import json
from pathlib import Path

import pytest
from command_line import run
from rich.console import Console

from jinku.cli import up
from jinku.cli.exit_codes import ExitCode
from jinku.cli.progress import Progress
from jinku.cli.selection import Selection
from jinku.holders import leavers_words, share_file
from jinku.places import Places

WORDS = "wang-fang left and holds a share of the vault's key; `jinku rekey`"


def test_who_left_is_named_once_and_nobody_else(tmp_path: Path) -> None:
    assert leavers_words(tmp_path, ["li-na"]) == []
    (tmp_path / "recovery.json").write_text(json.dumps({"holders": ["li-na", "wang-fang"]}))
    share_file(tmp_path, "wang-fang").touch()
    share_file(tmp_path, "li-na").touch()
    assert leavers_words(tmp_path, ["li-na", "chen-jie"]) == [WORDS]
    (tmp_path / "recovery.json").unlink()  # put away: the file of the own share still tells
    assert leavers_words(tmp_path, ["li-na"]) == [WORDS]
    assert leavers_words(tmp_path, ["li-na", "wang-fang"]) == []


@pytest.mark.usefixtures("own_places")
def test_status_says_so_where_the_environment_has_the_person_as_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env = tmp_path / "mine"
    assert run("init", env) == ExitCode.OK
    monkeypatch.setattr("jinku.cli.status.is_up", lambda _places: True)
    monkeypatch.setattr("jinku.status.look", lambda *_: [])
    monkeypatch.setattr("jinku.backups.newest", lambda *_: [])
    places = Places("mine")
    places.vault.mkdir(parents=True)
    for name in ("wang-fang", "li-na"):
        share_file(places.vault, name).touch()
    assert run("status", "--env", env) == ExitCode.OK
    assert "left" not in capsys.readouterr().err
    file = env / "environment.yaml"
    line = "  - {name: wang-fang, duty: audit}\n"
    assert line in file.read_text()
    gone = line.replace("audit", "audit, state: absent") + line.replace("wang-fang", "chen-jie")
    file.write_text(file.read_text().replace(line, gone))
    assert run("status", "--env", env) == ExitCode.OK
    said = capsys.readouterr()
    assert WORDS in said.err
    assert "left" not in said.out


@pytest.mark.usefixtures("own_places")
def test_up_says_so_at_its_end(tmp_path: Path) -> None:
    env = tmp_path / "mine"
    assert run("init", env) == ExitCode.OK
    vault = Places("mine").vault
    vault.mkdir(parents=True)
    share_file(vault, "chen-jie").touch()
    said = io.StringIO()
    up._last_lines(Selection.of(str(env)), up._Outcome(), Progress(Console(file=said)), 1.0)
    assert said.getvalue().endswith(f"{WORDS.replace('wang-fang', 'chen-jie')}\n")
