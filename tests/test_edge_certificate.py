# SPDX-License-Identifier: Apache-2.0
"""What the edge takes over of the files that an operator brings (roles/edge, jinku-edge-certificate). The judgement itself: faults/."""

from pathlib import Path

import pytest
from programs import loaded

PROGRAM = Path(__file__).parent.parent / "roles/edge/files/usr/local/sbin/jinku-edge-certificate"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """The program, with a folder of its own, a judge who finds everything sound, and an Apache that only notes that it was told."""
    monkeypatch.setenv("JINKU_EDGE", str(tmp_path))
    module = loaded(PROGRAM)
    module.told = []
    monkeypatch.setattr(module, "flaw", lambda *_: "")
    monkeypatch.setattr(module, "reload_apache", lambda: module.told.append("reload"))
    return module


@pytest.fixture
def brought(tmp_path):
    folder = tmp_path / "brought"
    folder.mkdir()
    (folder / "fullchain.pem").write_text("chain")
    (folder / "privkey.pem").write_text("key")
    return folder


def test_sound_files_are_taken_over_once(program, brought, tmp_path):
    settings = {"node": "edge1", "files": str(brought)}
    assert program.take(settings)
    assert [(tmp_path / name).read_text() for name in ("users.pem", "users.key")] == ["chain", "key"]
    assert (tmp_path / "users.key").stat().st_mode & 0o777 == 0o600
    assert not program.take(settings)
    assert program.told == ["reload"]


def test_files_that_change_while_they_are_judged_are_not_taken_over(program, brought, tmp_path, monkeypatch):
    settings = {"node": "edge1", "files": str(brought)}
    program.take(settings)

    def judge(*_):
        (brought / "fullchain.pem").write_text("half of another")
        return ""

    monkeypatch.setattr(program, "flaw", judge)
    with pytest.raises(
        SystemExit, match=r"edge1: .*: is being written to; .*; the one taken over before goes on serving"
    ):
        program.take(settings)
    assert (tmp_path / "users.pem").read_text() == "chain"
    assert program.told == ["reload"]
