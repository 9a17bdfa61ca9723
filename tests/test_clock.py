# SPDX-License-Identifier: Apache-2.0
"""Times as people are told them: one format, in the environment's zone."""

import json
import subprocess
import time
from datetime import UTC, datetime

import pytest

from jinku import backups, clock, people_access, status
from jinku.backups import Copy
from jinku.cli import main
from jinku.model import Topology, load_environment

ZONE = "Asia/Shanghai"
LAB = Topology.of(load_environment("lab"))


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 11, 27, 18, tzinfo=UTC),
        "2026-11-27T18:00:00+00:00",
        "2026-11-27T18:00:00Z",
        "2026-11-27T18:00:00.123456789Z",  # restic
        "2026-11-27T13:00:00.5-05:00",
        "2026-11-27 18:00:00.12345+00",  # PostgreSQL
    ],
)
def test_whoever_says_it_a_moment_is_told_in_one_format_that_restore_takes(moment):
    assert clock.told(moment, ZONE) == "2026-11-28T02:00:00+08:00"


def test_no_moment_is_a_dash_and_what_is_none_stays_as_it_is():
    assert [clock.told(one, ZONE) for one in (None, "", "infinity")] == ["-", "-", "infinity"]


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("JINKU_ENV", raising=False)


def run(capsys, *words):
    with pytest.raises(SystemExit):
        main([*words])
    return capsys.readouterr().out


FOUND = {
    "from": "2026-11-26T18:00:00+00:00",
    "to": None,
    "database": [{"label": "20261127-180000F", "type": "full", "finished": "2026-11-27T18:00:00+00:00"}],
    "attachments": [{"id": "1234abcd", "time": "2026-11-27T18:00:01.123456789Z", "path": "/a"}],
    "vault": [],
}
BACK = {
    "database": {"last_change": "2026-11-27 18:00:00.5+00", "socket": "/run/x"},
    "attachments": [{"time": "2026-11-27T18:00:01.1Z", "files": 3, "folder": "/a"}],
    "vault": [{"time": "2026-11-27T18:00:02.1Z", "file": "/v", "index": 7}],
    "seconds": 2,
}


def test_restore_tells_times_in_the_zone_of_the_environment_and_documents_keep_theirs(monkeypatch, capsys):
    monkeypatch.setattr("jinku.cli.restore.is_up", lambda _places: True)
    monkeypatch.setattr(backups, "ask", lambda _t, _p, verb, *_w, **_k: json.dumps(FOUND if verb == "list" else BACK))
    listed = run(capsys, "restore", "--list")
    assert "database\t20261127-180000F\t2026-11-28T02:00:00+08:00\n" in listed
    assert "attachments\t1234abcd\t2026-11-28T02:00:01+08:00\n" in listed
    assert "database: any moment from 2026-11-27T02:00:00+08:00 to -\n" in listed
    assert json.loads(run(capsys, "restore", "--list", "--json")) == FOUND
    opened = run(capsys, "restore")
    assert "last change 2026-11-28T02:00:00+08:00;" in opened
    assert "attachments of 2026-11-28T02:00:01+08:00:" in opened
    assert "vault of 2026-11-28T02:00:02+08:00:" in opened


def test_status_tells_times_in_the_zone_of_the_environment(monkeypatch, capsys):
    node = LAB.node("crm1")
    seen = status.NodeStatus(
        "crm1", "a", node.zone, node.tiers, True, "running", (), {}, "2026-11-27T18:00:00+00:00", ""
    )
    monkeypatch.setattr("jinku.cli.status.is_up", lambda _places: True)
    monkeypatch.setattr(status, "look", lambda _topology, _places: [seen])
    copies = [Copy("aud2", "full", datetime(2026, 11, 27, 18, tzinfo=UTC)), Copy("aud2", "vault", None)]
    monkeypatch.setattr(backups, "newest", lambda _topology, _places: copies)
    out = run(capsys, "status").splitlines()
    assert next(line for line in out if line.startswith("a\tcrm1")).endswith("\t2026-11-28T02:00:00+08:00")
    assert "aud2\tfull\t2026-11-28T02:00:00+08:00" in out
    assert "aud2\tvault\t-" in out
    found = json.loads(run(capsys, "status", "--json"))
    assert (found["nodes"][0]["up_since"], found["backups"][0]["finished"]) == 2 * ("2026-11-27T18:00:00+00:00",)


@pytest.fixture
def _far_away(monkeypatch):
    """This machine is in another zone than the environment."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_far_away")
def test_a_login_lasts_until_the_same_moment_wherever_it_is_asked(tmp_path):
    for name in ("ca", "me"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    period = ["-V", "20261127120000:20261127130000"]  # of New York
    subprocess.run(["ssh-keygen", "-q", "-s", tmp_path / "ca", "-I", "me", *period, tmp_path / "me.pub"], check=True)
    until = people_access.valid_until(tmp_path / "me-cert.pub")
    assert clock.told(until, ZONE) == "2026-11-28T02:00:00+08:00"
