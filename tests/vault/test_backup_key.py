# SPDX-License-Identifier: Apache-2.0
"""The key of the backups, its escrow, and a snapshot of the vault that the backup host fetches: on a real OpenBao."""

import json
import os
import secrets
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from enrolled_host import HostAt, agent, enrolled, login, wait_for
from hvac.exceptions import Forbidden
from vault_world import ROLES, Host, World

from jinku.vault import VaultError, configure, manager

pytestmark = pytest.mark.openbao


def escrow_of(world: World) -> Path:
    return world.fleet.state / "backup" / "key.json"


@pytest.fixture
def without_escrow(ready: World) -> Iterator[Path]:
    kept = escrow_of(ready).rename(escrow_of(ready).with_suffix(".kept"))
    yield escrow_of(ready)
    kept.rename(escrow_of(ready))


def test_the_key_is_in_the_vault_and_in_the_escrow(ready: World, host_at: HostAt) -> None:
    assert stat.S_IMODE(escrow_of(ready).stat().st_mode) == 0o600
    kept = login(enrolled(host_at("aud2"), ready), ready).read("backup/repository")["data"]
    assert kept == json.loads(escrow_of(ready).read_text())
    assert len(set(kept.values())) == 2
    assert all(len(value) >= 43 for value in kept.values())


def test_nobody_else_reads_it_and_the_manager_cannot_replace_it(ready: World, host_at: HostAt) -> None:
    with pytest.raises(Forbidden):
        login(enrolled(host_at("crm1"), ready), ready).read("backup/repository")
    with manager(ready.fleet, ready.door) as client:
        for attempt in (
            lambda: client.read("backup/repository"),
            lambda: client.write_data("backup/repository", data={"database": "x", "files": "y"}),
            lambda: client.delete("backup/repository"),
        ):
            with pytest.raises(Forbidden):
                attempt()


def test_a_key_without_escrow_is_refused_with_the_remedy(ready: World, without_escrow: Path) -> None:
    with manager(ready.fleet, ready.door) as client, pytest.raises(VaultError, match=r"key.json: is missing.*aud2"):
        configure(ready.fleet, client)
    assert not without_escrow.exists()


@pytest.mark.parametrize("text", ["", "{}", '{"database": "", "files": ""}'])
def test_an_escrow_that_holds_no_key_is_refused(ready: World, without_escrow: Path, text: str) -> None:
    without_escrow.write_text(text)
    with manager(ready.fleet, ready.door) as client, pytest.raises(VaultError, match="is not an escrow"):
        configure(ready.fleet, client)


def test_the_agent_writes_it_for_pgbackrest_restic_and_escrow(ready: World, host_at: HostAt) -> None:
    host = enrolled(host_at("aud2"), ready)
    (host.etc / "backup").mkdir()
    text = ready.render("backup", "etc/jinku/agent.d/backup.hcl", ansible_managed="x")
    text = text.replace(f"{ready.folder}/etc/jinku", str(host.etc)).replace('"jinku-backup"', '"root"')
    (host.etc / "agent.d/backup.hcl").write_text(text)
    keys = host.etc / "backup/keys"
    with agent(host):
        wait_for(lambda: all((keys / name).exists() for name in ("pgbackrest.conf", "restic", "key.json")), host)
    wanted = json.loads(escrow_of(ready).read_text())
    assert (keys / "pgbackrest.conf").read_text() == f"[global]\nrepo1-cipher-pass={wanted['database']}\n"
    assert (keys / "restic").read_text().strip() == wanted["files"]
    assert json.loads((keys / "key.json").read_text()) == wanted
    assert stat.S_IMODE((keys / "restic").stat().st_mode) == 0o600


def program(host: Host, code: str, stdout: int | None = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    """Run Python that imports the backup host's program, as this machine."""
    (host.etc / "settings.json").write_text(
        json.dumps({"vault": host.world.door.url, "vault_role": f"host-{host.name}"})
    )
    known = {
        "CREDENTIALS_DIRECTORY": str(host.etc / "identity"),
        "JINKU_BACKUP_ETC": str(host.etc),
        "PYTHONPATH": str(ROLES / "backup/files"),
    }
    command = [sys.executable, "-B", "-c", code]
    return subprocess.run(command, env={**os.environ, **known}, stdout=stdout, stderr=subprocess.PIPE, check=False)


SEND = "import sys\nfrom jinku_backup import copies\nsys.exit(copies.main('vault', 'vault'))"


def test_a_snapshot_opens_in_another_vault(ready: World, host_at: HostAt, tmp_path: Path) -> None:
    """Fetched as the backup host does, put into an empty vault with the same seal: it is the same vault again."""
    sent = program(enrolled(host_at("aud2"), ready), SEND)
    assert sent.returncode == 0, sent.stderr
    snapshot = tmp_path / "vault.snap"
    snapshot.write_bytes(sent.stdout)
    cluster = ready.door.health()["cluster_id"]
    raft = ready.folder / "var/lib/openbao/raft"
    ready.stop()
    kept = raft.rename(raft.with_name("raft.kept"))
    raft.mkdir()
    try:
        ready.start()
        first = ready.door.client().adapter.put("/v1/sys/init", json={"recovery_shares": 1, "recovery_threshold": 1})
        assert ready.door.wait_until_active()["cluster_id"] != cluster
        said = {
            "BAO_ADDR": ready.door.url,
            "BAO_CACERT": str(ready.door.root),
            "BAO_TOKEN": first["root_token"],
            "BAO_TLS_SERVER_NAME": ready.door.server_name,
        }
        forced = [str(ready.bao), "operator", "raft", "snapshot", "restore", "-force", str(snapshot)]
        done = subprocess.run(forced, env={**os.environ, **said}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        ready.stop()
        ready.start()
        assert ready.door.wait_until_active(30)["cluster_id"] == cluster
        with manager(ready.fleet, ready.door) as client:
            assert configure(ready.fleet, client) == []
    finally:
        ready.stop()
        shutil.rmtree(raft)
        kept.rename(raft)
        ready.start()
        ready.door.wait_until_active()


def test_a_snapshot_that_is_none_is_refused(ready: World, host_at: HostAt, tmp_path: Path) -> None:
    host = enrolled(host_at("aud2"), ready)
    good = program(host, SEND).stdout
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 0xFF
    for name, content in (
        ("good", good),
        ("bad", bytes(bad)),
        ("short", good[: len(good) // 2]),
        ("noise", secrets.token_bytes(99)),
    ):
        (tmp_path / name).write_bytes(content)
        code = f"from pathlib import Path\nfrom jinku_backup import restore\nprint(restore.opened(Path({str(tmp_path / name)!r})))"
        done = program(host, code)
        assert (done.returncode == 0) is (name == "good"), done.stderr
        if name != "good":
            assert b"BackupError" in done.stderr


def test_a_host_without_the_policy_gets_no_snapshot(ready: World, host_at: HostAt) -> None:
    sent = program(enrolled(host_at("crm1"), ready), SEND)
    assert sent.returncode == 1
    assert b"sys/storage/raft/snapshot: 403" in sent.stderr
    assert sent.stdout == b""
