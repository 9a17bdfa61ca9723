# SPDX-License-Identifier: Apache-2.0
"""When the vault's server is restarted (roles/vault, jinku-vault): a restart closes what its operators have opened."""

import os
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from programs import loaded

from jinku.places import CHECKOUT

PROGRAM = CHECKOUT / "roles/vault/files/usr/local/sbin/jinku-vault"


@pytest.fixture
def program(tmp_path, monkeypatch) -> ModuleType:
    """The program, with settings that were written 100 s ago."""
    module = loaded(PROGRAM)
    settings = tmp_path / "openbao.hcl"
    settings.touch()
    os.utime(settings, (time.time() - 100,) * 2)
    monkeypatch.setattr(module, "SETTINGS", (settings, tmp_path / "not.there"))
    return module


@pytest.mark.parametrize(("began_s_ago", "outdated"), [(99.5, False), (1, False), (100.5, True), (5000, True)])
def test_a_server_is_outdated_when_it_began_before_its_settings_were_written(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, began_s_ago: float, outdated: bool
) -> None:
    began = max(0, int((time.monotonic() - began_s_ago) * 1e6))
    monkeypatch.setattr(program.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=f"{began}\n"))
    assert program.outdated() is outdated


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives folders an owner")
@pytest.mark.parametrize("place", ["data/raft", "data"])
def test_a_link_in_the_place_of_a_folder_is_refused_and_where_it_leads_nothing_changes(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    """The account openbao owns what is above these folders; the next `up` gave it whatever a link of its named."""
    monkeypatch.setattr(program, "DATA", tmp_path / "data")
    monkeypatch.setattr(program, "LOGS", tmp_path / "logs")
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o755)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).symlink_to(foreign)
    with pytest.raises(SystemExit, match=f"{place}: is no folder"):
        program.folders(4242, 4242, check=False)
    assert (foreign.stat().st_uid, foreign.stat().st_mode & 0o777) == (0, 0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives folders an owner")
def test_folders_get_their_owner_and_mode_once(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(program, "DATA", tmp_path / "data")
    monkeypatch.setattr(program, "LOGS", tmp_path / "logs")
    assert len(program.folders(4242, 4242, check=True)) == 5
    assert not (tmp_path / "data").exists()
    assert len(program.folders(4242, 4242, check=False)) == 5
    assert program.folders(4242, 4242, check=False) == []
    found = (tmp_path / "data/audit").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (4242, 4242, 0o750)
