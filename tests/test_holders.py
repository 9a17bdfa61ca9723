# SPDX-License-Identifier: Apache-2.0
"""Who left and still holds a share of the vault's key is named by whoever looks at the environment."""

import io
import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import run
from rich.console import Console

from jinku.cli import unseal, up
from jinku.cli.exit_codes import ExitCode
from jinku.cli.progress import Progress
from jinku.cli.selection import Selection
from jinku.holders import rekey_file, share_file, words_on_shares
from jinku.places import Places
from jinku.vault import VaultError
from jinku.vault.shares import Seal

WORDS = "wang-fang left and holds a share of the vault's key; `jinku rekey`"


def test_who_left_is_named_once_and_nobody_else(tmp_path: Path) -> None:
    assert words_on_shares(tmp_path, ["li-na"]) == []
    (tmp_path / "recovery.json").write_text(json.dumps({"holders": ["li-na", "wang-fang"]}))
    share_file(tmp_path, "wang-fang").touch()
    share_file(tmp_path, "li-na").touch()
    assert words_on_shares(tmp_path, ["li-na", "chen-jie"]) == [WORDS]
    (tmp_path / "recovery.json").unlink()  # put away: the file of the own share still tells
    assert words_on_shares(tmp_path, ["li-na"]) == [WORDS]
    assert words_on_shares(tmp_path, ["li-na", "wang-fang"]) == []


def test_a_damaged_record_of_the_holders_is_a_line_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "recovery.json").write_text('{"holders": ["li-')
    (said,) = words_on_shares(tmp_path, ["li-na"])
    assert said == f"{tmp_path}/recovery.json: (file): is damaged; bring it back from a copy"


def test_a_rekey_that_is_not_ended_is_named_until_it_is(tmp_path: Path) -> None:
    rekey_file(tmp_path).touch()
    (said,) = words_on_shares(tmp_path, [])
    assert "`jinku rekey` goes on" in said
    rekey_file(tmp_path).unlink()
    assert words_on_shares(tmp_path, []) == []


@pytest.mark.usefixtures("own_places")
@pytest.mark.parametrize("begun", [True, False])
def test_unseal_names_the_new_shares_where_old_ones_are_refused_and_a_rekey_is_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], begun: bool
) -> None:
    def give(_door: object, _share: str) -> Seal:
        raise VaultError("vault: the share is refused")

    env = tmp_path / "mine"
    assert run("init", env) == ExitCode.OK
    vault = Places("mine").vault
    vault.mkdir(parents=True)
    if begun:
        rekey_file(vault).touch()
    for name, instead in {
        "is_up": lambda _places: True,
        "through_the_bastion": lambda _fleet: nullcontext(SimpleNamespace(server_name="vault")),
        "seal_of": lambda _door: Seal(sealed=True, given=1, needed=2, by="shamir"),
        "give": give,
    }.items():
        monkeypatch.setattr(unseal, name, instead)
    monkeypatch.setattr("jinku.vault.Fleet.of", lambda *_: None)
    monkeypatch.setattr("sys.stdin", io.StringIO("00\n"))
    assert run("unseal", "--env", env) == ExitCode.FAILED
    assert ("new-share.NAME.gpg" in capsys.readouterr().err) is begun


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
