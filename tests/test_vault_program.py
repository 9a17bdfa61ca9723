# SPDX-License-Identifier: Apache-2.0
"""When the vault's server is restarted (roles/vault, jinku-vault): a restart closes what its operators have opened."""

import importlib.util
import os
import time
from importlib.machinery import SourceFileLoader
from types import ModuleType, SimpleNamespace

import pytest

from jinku.places import CHECKOUT

PROGRAM = CHECKOUT / "roles/vault/files/usr/local/sbin/jinku-vault"


@pytest.fixture
def program(tmp_path, monkeypatch) -> ModuleType:
    """The program, with settings that were written 100 s ago."""
    loader = SourceFileLoader("jinku_vault", str(PROGRAM))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
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
