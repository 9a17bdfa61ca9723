# SPDX-License-Identifier: Apache-2.0
"""Services take a new certificate by hooks: one that was cut off or failed is owed until it has run (roles/enrol, jinku-enrol)."""

import grp
import os
from types import ModuleType

import pytest
from programs import loaded

from jinku.places import CHECKOUT

PROGRAM = CHECKOUT / "roles/enrol/files/usr/local/sbin/jinku-enrol"
BLOCK = "-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n"
SETTINGS = {"group": grp.getgrgid(0).gr_name}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives files an owner")


@pytest.fixture
def program(tmp_path, monkeypatch) -> ModuleType:
    """The program on a host of its own, with a bundle that the agent has just written, and two hooks that say that they ran."""
    monkeypatch.setenv("JINKU_ETC", str(tmp_path))
    for folder in ("tls", "identity", "tls-reload.d"):
        (tmp_path / folder).mkdir()
    (tmp_path / "identity/root.pem").write_text(BLOCK.format(kind="CERTIFICATE", text="root"))
    parts = (("CERTIFICATE", "leaf"), ("CERTIFICATE", "authority"), ("PRIVATE KEY", "abcdefgh"))
    (tmp_path / "tls/bundle.pem").write_text("".join(BLOCK.format(kind=kind, text=text) for kind, text in parts))
    for name in ("edge", "log"):
        hook = tmp_path / "tls-reload.d" / name
        hook.write_text(f"#!/bin/sh\necho {name} >>{tmp_path}/ran\n")
        hook.chmod(0o755)
    return loaded(PROGRAM)


def ran(folder):
    file = folder / "ran"
    return file.read_text().split() if file.exists() else []


def test_hooks_run_once_for_a_certificate(program, tmp_path):
    program.install(SETTINGS)
    program.install(SETTINGS)
    assert ran(tmp_path) == ["edge", "log"]
    assert not (tmp_path / "tls/reload.failed").exists()


def test_hooks_that_were_cut_off_run_at_the_next_turn(program, tmp_path, monkeypatch):
    """The certificate lies there already, and is the same then."""
    with monkeypatch.context() as killed:
        killed.setattr(program.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            program.install(SETTINGS)
    assert (tmp_path / "tls/host.pem").exists()
    assert (tmp_path / "tls/reload.failed").read_text().split() == ["edge", "log"]
    program.install(SETTINGS)
    assert ran(tmp_path) == ["edge", "log"]
    assert not (tmp_path / "tls/reload.failed").exists()


def test_a_hook_that_failed_is_named_and_tried_again(program, tmp_path):
    hook = tmp_path / "tls-reload.d/edge"
    sound = hook.read_text()
    hook.write_text("#!/bin/sh\nexit 3\n")
    program.install(SETTINGS)
    assert (tmp_path / "tls/reload.failed").read_text() == "edge\n"
    assert ran(tmp_path) == ["log"]
    hook.write_text(sound)
    program.install(SETTINGS)
    assert ran(tmp_path)[1:] == ["edge", "log"]
    assert not (tmp_path / "tls/reload.failed").exists()
