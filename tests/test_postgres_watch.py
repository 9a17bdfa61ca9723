# SPDX-License-Identifier: Apache-2.0
"""What the look every few seconds does with a server that is down (roles/postgres, jinku-postgres watch)."""

from types import ModuleType, SimpleNamespace

import pytest
from programs import loaded

from jinku.places import CHECKOUT

PROGRAM = CHECKOUT / "roles/postgres/files/usr/local/sbin/jinku-postgres"


@pytest.fixture
def program(tmp_path, monkeypatch) -> ModuleType:
    module = loaded(PROGRAM)
    monkeypatch.setattr(module, "FENCED", tmp_path / "fenced")
    return module


@pytest.mark.parametrize(
    ("unit", "cluster", "fenced", "second", "started"),
    [
        ("failed", "in production", False, "", True),
        ("failed", "in production", False, "unknown", True),
        ("failed", "in archive recovery", False, "", True),
        ("failed", "in production", False, "db2 is the primary, on timeline 2", False),
        ("failed", "in production", True, "", False),
        ("failed", "shut down", False, "", False),
        ("inactive", "in production", False, "", False),
        ("activating", "in production", False, "", False),
    ],
)
def test_a_server_that_fell_is_started_and_one_that_was_stopped_or_replaced_is_not(
    program, monkeypatch, unit, cluster, fenced, second, started
):
    run = []

    def systemctl(command, **_):
        run.append(command)
        return SimpleNamespace(stdout=f"{unit}\n", returncode=3)

    monkeypatch.setattr(program.subprocess, "run", systemctl)
    monkeypatch.setattr(program, "control", lambda: {"Database cluster state": cluster})
    monkeypatch.setattr(program, "second", lambda: second)
    if fenced:
        program.FENCED.write_text("another one\n")
    program.watch()
    assert (["systemctl", "start", "--no-block", program.UNIT] in run) is started
