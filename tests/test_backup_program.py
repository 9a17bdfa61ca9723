# SPDX-License-Identifier: Apache-2.0
"""What the backup host's program and `jinku restore` decide by themselves; the copies are tried in drills and control tests."""

import importlib
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from jinku import backups
from jinku.cli import restore as verb
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.model import Topology, load_environment
from jinku.places import Places

PROGRAM = Path(__file__).resolve().parent.parent / "roles/backup/files"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The modules of the backup host's program, on folders of the test's own."""
    for name in ("ETC", "VOLUME", "RUN"):
        monkeypatch.setenv(f"JINKU_BACKUP_{name}", str(tmp_path / name.lower()))
        (tmp_path / name.lower()).mkdir()
    monkeypatch.syspath_prepend(str(PROGRAM))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = [name for name in sys.modules if name.startswith("jinku_backup")]
    for name in known:
        monkeypatch.delitem(sys.modules, name)

    def load(name: str) -> ModuleType:
        return importlib.import_module(f"jinku_backup.{name}")

    yield load
    for name in [name for name in sys.modules if name.startswith("jinku_backup")]:
        del sys.modules[name]


def test_a_backup_host_that_tells_nothing_is_named(monkeypatch):
    topology = Topology.of(load_environment("lab"))
    silent = SimpleNamespace(stdout="", returncode=255)
    monkeypatch.setattr(backups, "_ssh", lambda *_given, **_more: silent)
    (only,) = backups.newest(topology, Places("lab"))
    assert (only.node, only.kind, only.finished) == ("aud2", backups.NO_ANSWER, None)


def test_what_the_host_writes_for_the_monitor_is_read() -> None:
    text = (
        "# HELP x\njinku_backup_wal_behind_bytes 0\n"
        'jinku_backup_last_success_timestamp_seconds{kind="full"} 1795833006\n'
        'jinku_backup_last_success_timestamp_seconds{kind="vault"} 0\n'
    )
    full, vault = backups.parse("aud2", text)
    assert full == backups.Copy("aud2", "full", datetime(2026, 11, 28, 2, 30, 6, tzinfo=UTC))
    assert vault.finished is None


def test_an_environment_without_a_second_site_has_no_backup_host() -> None:
    env = load_environment("lab").model_copy(update={"sites": {"a": load_environment("lab").sites["a"]}})
    assert not Topology.of(env).nodes_of("backup")


def test_the_other_site_opens_every_connection() -> None:
    """No host whose data it keeps may reach it."""
    for name in ("lab", "small", "standard"):
        topology = Topology.of(load_environment(name))
        keepers = {node.name for node in topology.nodes_of("backup")}
        assert keepers
        assert all(topology.node(keeper).site == "b" for keeper in keepers)
        copied = {node.name for tier in ("postgres", "crm", "vault") for node in topology.nodes_of(tier)}
        arriving = {(pair.source, pair.port) for pair in topology.allowed() if pair.destination in keepers}
        assert not copied & {source for source, _ in arriving}
        assert {port for _, port in arriving} <= {22, 9100, 6515}, (
            "more than SSH, metrics and seals of the logs arrives"
        )


VERIFIED = """stanza: main
status: ok
  archiveId: 17-1, total WAL checked: 4, total valid WAL: 4
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: 20261128-022953F, status: valid, total files checked: 1264, total valid files: 1264
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
"""


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("status: ok", "status: error"),
        ("status: valid", "status: invalid"),
        (
            "checksum invalid: 0, size invalid: 0, other: 0\n  backup",
            "checksum invalid: 1, size invalid: 0, other: 0\n  backup",
        ),
        ("missing: 0, checksum", "missing: 3, checksum"),
    ],
)
def test_damage_that_pgbackrest_reports_with_exit_code_0_is_found(program: Any, there: str, instead: str) -> None:
    copies = program("copies")
    assert not [line for line in VERIFIED.splitlines() if copies._bad(line)]
    assert [line for line in VERIFIED.replace(there, instead).splitlines() if copies._bad(line)]


def test_of_attachments_the_first_later_copy_is_taken_and_of_the_vault_the_last_earlier(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = program("restore")
    times = ("2026-11-01T00:00:00.123456789Z", "2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z")
    found = [{"time": time, "paths": ["/one"], "short_id": time[8:10]} for time in times]
    monkeypatch.setattr(restore, "snapshots", lambda _kind: found)
    noon = restore.moment("2026-11-02T12:00:00Z")

    def chosen(kind: str, when: float | None) -> list[str]:
        return [one["short_id"] for one in restore.choose(kind, when)]

    assert chosen("attachments", noon) == ["03"]
    assert chosen("vault", noon) == ["02"]
    assert chosen("attachments", None) == chosen("vault", None) == ["03"]
    assert chosen("vault", restore.moment("2026-10-01T00:00:00Z")) == ["01"]
    assert chosen("attachments", restore.moment("2026-12-01T00:00:00Z")) == ["03"]


def test_positions_of_the_log_of_changes(program: Any) -> None:
    lsn = program("stream").lsn
    assert lsn("0/2000028") == 0x2000028
    assert lsn("1/0") > lsn("0/FFFFFFFF")


@pytest.mark.parametrize("text", ["yesterday", "2026-11-28T02:00:00", "2026-11-28 25:00:00+00:00", ""])
def test_a_moment_without_a_zone_is_refused_before_any_host_is_asked(text: str) -> None:
    done = CliRunner().invoke(verb.command, ["--to", text])
    assert isinstance(done.exception, Failure)
    assert done.exception.code == ExitCode.USAGE
    assert "is not a time with a zone; such as" in str(done.exception)


def test_a_key_that_is_none_is_refused(program: Any) -> None:
    places = program("places")
    with pytest.raises(places.BackupError, match="key: is missing"):
        places.keys()
    with pytest.raises(places.BackupError, match="is not an escrow"):
        program("restore")._take_key(json.dumps({"database": "x"}))


def summary(name: str) -> dict[str, Any]:
    return {"snapshot_id": name, "total_bytes_processed": 1}


def test_attachments_of_one_host_do_not_make_up_for_another(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    copies, places = program("copies"), program("places")

    def stream(_kind: str, host: str) -> dict[str, Any]:
        if host == "crm2":
            raise places.BackupError(host)
        return summary("a")

    monkeypatch.setattr(copies, "settings", lambda: {"attachments": ["crm1", "crm2"], "keep_days": 35})
    monkeypatch.setattr(copies, "_stream", stream)
    with pytest.raises(places.BackupError, match="crm2"):
        copies.attachments("attachments")
    assert places.noted("attachments") == {}


def test_a_kind_is_there_when_every_source_of_it_is(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    copies, health, places = program("copies"), program("health"), program("places")
    monkeypatch.setattr(copies, "stanza", lambda: None)
    kept = places.RESTIC / "snapshots"
    kept.mkdir(parents=True)
    copies._note("attachments", [summary("a"), summary("b")])
    (kept / "a").touch()
    assert health.newest()["attachments"] == 0
    (kept / "b").touch()
    assert health.newest()["attachments"] > 0


def test_a_segment_that_the_repository_does_not_take_ages_the_log_of_changes(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies, health, places = program("copies"), program("health"), program("places")
    monkeypatch.setattr(copies, "stanza", lambda: None)
    places.WAL.mkdir()
    places.note("wal", finished=int(time.time()))
    assert time.time() - health.newest()["wal"] < 60
    waits = places.WAL / "000000010000000000000002"
    waits.touch()
    os.utime(waits, (1_700_000_000, 1_700_000_000))
    assert health.newest()["wal"] == 1_700_000_000


def test_nothing_is_written_through_a_link_that_the_account_laid(program: Any, tmp_path: Path) -> None:
    """Root notes each minute, in a folder of the backups' account."""
    places = program("places")
    victim = tmp_path / "shadow"
    victim.write_text("root")
    places.STATE.mkdir()
    (places.STATE / ".wal.new").symlink_to(victim)
    places.note("wal", finished=1)
    assert victim.read_text() == "root"
    assert places.noted("wal") == {"finished": 1}


def test_a_second_restore_waits_for_the_first(program: Any) -> None:
    restore, places = program("restore"), program("places")
    with restore._alone():
        for again in (restore.discard, lambda: restore.restore(None)):
            with pytest.raises(places.BackupError, match="is being restored"):
                again()


def test_a_restore_that_is_to_replace_nothing_leaves_an_earlier_copy(program: Any) -> None:
    """A check restores this way: what lies there is somebody's."""
    restore, places = program("restore"), program("places")
    places.SCRATCH.mkdir()
    (places.SCRATCH / "database").touch()
    with pytest.raises(places.BackupError, match="somebody's restored copy lies there"):
        restore.restore(None, beside_none=True)
    assert (places.SCRATCH / "database").exists()


def test_a_copy_that_would_fill_the_volume_is_refused(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    copies, restore, places = program("copies"), program("restore"), program("places")
    size = 1 << 20
    monkeypatch.setattr(copies, "stanza", lambda: {"backup": [{"info": {"size": size}}]})
    restore.room({"vault": [{}]})
    size = 1 << 60
    with pytest.raises(places.BackupError, match="must stay free"):
        restore.room({"vault": [{}]})


def anew(program: Any, monkeypatch: pytest.MonkeyPatch, refused: str) -> tuple[list[str], Path]:
    """What `anew` runs when the database refuses to drop the slot, and the segment that was being received."""
    stream, places = program("stream"), program("places")
    ran: list[str] = []

    def call(arguments: list[str], **_: Any) -> str:
        ran.append(" ".join(arguments))
        if "DROP" in ran[-1]:
            raise places.BackupError(refused)
        return ""

    monkeypatch.setattr(stream, "connection", lambda _more="": "db")
    monkeypatch.setattr(stream, "pgbackrest", lambda *given: ["pgbackrest", *given])
    monkeypatch.setattr(stream, "call", call)
    monkeypatch.setattr(stream, "_systemctl", lambda verb, unit: ran.append(f"{verb} {unit}"))
    places.WAL.mkdir()
    partial = places.WAL / "000000010000000000000002.partial"
    partial.touch()
    return ran, partial


def test_what_was_received_before_a_lost_slot_goes_into_the_repository(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, partial = anew(program, monkeypatch, 'replication slot "backup" does not exist')
    program("stream").anew()
    assert ran[1] == f"pgbackrest archive-push {partial}"
    assert ran[-2:] == ["start jinku-backup-wal.service", "start jinku-backup@full.service"]
    assert not partial.exists()


def test_a_database_that_does_not_answer_costs_nothing_that_was_received(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, partial = anew(program, monkeypatch, "connection refused")
    with pytest.raises(program("places").BackupError, match="connection refused"):
        program("stream").anew()
    assert partial.exists()
    assert ran[-1] == "start jinku-backup-wal.service"


def test_a_restored_copy_writes_nothing_but_itself() -> None:
    """It runs what the database's host put into it; the repositories and what the other programs read are not its to write."""
    unit = (PROGRAM / "etc/systemd/system/jinku-backup-scratch.service").read_text().splitlines()
    writes = [line.partition("=")[2].split() for line in unit if line.startswith("ReadWritePaths=")]
    scratch = "/var/lib/jinku-backup/scratch"
    assert writes == [[f"{scratch}/database", f"-{scratch}/tablespaces"]]
    assert {"RuntimeDirectory=jinku-backup-scratch", "ReadOnlyPaths=/run", "PrivatePIDs=yes"} <= set(unit)
