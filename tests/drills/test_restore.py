# SPDX-License-Identifier: Apache-2.0
"""Restore drill: to a moment, beside what runs, verified by content; and who has the database's host reaches no copy. Lab only."""

import json
import os
import secrets
import shlex
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from jinku.model import Topology, load_environment
from jinku.model.topology import SERVICES
from jinku.places import Places

ENVIRONMENT = load_environment(os.environ.get("JINKU_ENV", "lab"))
TOPOLOGY = Topology.of(ENVIRONMENT)
PLACES = Places(ENVIRONMENT.name)
TOKEN = secrets.token_hex(8)
FILE = f"/var/lib/tryton/drill-{TOKEN}"
SQL = "sudo runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d postgres -c "

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(
        ENVIRONMENT.backend != "lab", reason="it writes marks into the database and beside the attachments"
    ),
]


def node(tier: str) -> str:
    return TOPOLOGY.nodes_of(tier)[0].name


def on(name: str, command: str) -> subprocess.CompletedProcess[str]:
    line = ["ssh", "-F", str(PLACES.ssh_config), name, "--", command]
    return subprocess.run(line, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=120)


def said(name: str, command: str) -> str:
    done = on(name, command)
    assert done.returncode == 0, f"{name}: {command}: {done.stderr}"
    return done.stdout.strip()


def restore(*options: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("jinku")), "restore", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture(scope="module")
def moment() -> str:
    """A moment between two rows, with a file beside the attachments and a fresh copy of it; as the database's clock says."""
    said(node("postgres"), SQL + shlex.quote("CREATE TABLE IF NOT EXISTS jinku.drill (mark text)"))
    said(node("postgres"), SQL + shlex.quote(f"INSERT INTO jinku.drill VALUES ('before-{TOKEN}')"))  # noqa: S608 - marks of our own
    said(node("crm"), f"head -c 300000 /dev/urandom | sudo -u tryton tee {FILE} | sha256sum >/tmp/drill-{TOKEN}")
    time.sleep(1)
    when = said(node("postgres"), SQL + "'SELECT clock_timestamp()'")
    time.sleep(1)
    said(node("postgres"), SQL + shlex.quote(f"INSERT INTO jinku.drill VALUES ('after-{TOKEN}')"))  # noqa: S608 - marks of our own
    for kind in ("attachments", "vault"):
        said(node("backup"), f"sudo systemctl start jinku-backup@{kind}")
    return datetime.fromisoformat(when.replace(" ", "T")).isoformat()


def test_a_moment_comes_back_with_the_key_of_the_escrow(moment: str) -> None:
    try:
        done = restore("--to", moment, "--key", str(PLACES.state / "backup/key.json"), "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        psql = f"sudo psql -XAtq -h {told['database']['socket']} -U postgres -d postgres -c "
        marks = said(node("backup"), psql + "'SELECT mark FROM jinku.drill'").splitlines()  # noqa: S608 - marks of our own
        assert f"before-{TOKEN}" in marks
        assert f"after-{TOKEN}" not in marks
        assert said(node("backup"), psql + "'SHOW archive_mode'") == "off"
        wanted = said(node("crm"), f"cut -d' ' -f1 /tmp/drill-{TOKEN}")
        copy = f"{told['attachments'][0]['folder']}/{Path(FILE).name}"
        assert said(node("backup"), f"sudo sha256sum {copy}").split()[0] == wanted
        assert told["vault"][0]["index"] > 0
    finally:
        assert restore("--discard").returncode == 0
        said(node("crm"), f"sudo rm -f {FILE}; rm -f /tmp/drill-{TOKEN}")
        said(node("postgres"), SQL + "'DROP TABLE jinku.drill'")
    assert on(node("backup"), "sudo ls /var/lib/jinku-backup/scratch").returncode != 0


def test_what_cannot_be_restored_is_refused_before_anything_is_made(moment: str, tmp_path: Path) -> None:
    wrong = tmp_path / "key.json"
    wrong.write_text(json.dumps({"database": "x" * 43, "files": "y" * 43}))
    earlier = (datetime.fromisoformat(moment) - timedelta(days=400)).isoformat()
    later = (datetime.fromisoformat(moment) + timedelta(days=1)).isoformat()
    for options, words in (
        (("--to", "yesterday"), "is not a time with a zone"),
        (("--to", earlier), "before the oldest copy"),
        (("--to", later), "later than what was received"),
        (("--key", str(wrong)), f"{wrong}: key: is not the one of this repository"),
        (("--key", str(tmp_path / "none")), "key: cannot be read"),
    ):
        done = restore(*options)
        assert done.returncode != 0
        assert words in done.stderr, f"{options}: {done.stderr}"
        assert "Traceback" not in done.stderr
    assert on(node("backup"), "sudo ls /var/lib/jinku-backup/scratch").returncode != 0


def test_root_on_the_database_host_reaches_no_copy() -> None:
    """With the host's own, legitimate certificate, and every file of pgBackRest that is there."""
    keeper = TOPOLOGY.nodes_of("backup")[0]
    count = "sudo find /var/lib/jinku-backup/repository /var/lib/jinku-backup/restic -type f | wc -l"
    before = int(said(keeper.name, count))
    tls = "--repo1-host-ca-file=/etc/jinku/tls/ca.pem --repo1-host-cert-file=/etc/jinku/tls/host.pem --repo1-host-key-file=/etc/jinku/tls/host.key"
    for port in (SERVICES["backup_agent"].port, SERVICES["ssh"].port, SERVICES["postgres"].port):
        there = f"--repo1-host={keeper.fqdn} --repo1-host-type=tls --repo1-host-port={port} --repo1-retention-full=1"
        options = (
            f"--config=/dev/null --stanza=main --io-timeout=3 --protocol-timeout=6 --log-level-file=off {there} {tls}"
        )
        for verb in ("expire", "stanza-delete --force", "info"):
            tried = on(
                node("postgres"), f"sudo timeout 20 pgbackrest {options} --pg1-path=/var/lib/postgresql/17/main {verb}"
            )
            assert tried.returncode != 0 or "missing stanza" in tried.stdout or "other" in tried.stdout, tried.stdout
    open_ports = f'for p in 22 443 5432 8432 8443 8444; do timeout 2 bash -c "</dev/tcp/{keeper.address}/$p" 2>/dev/null && echo $p; done; true'
    assert said(node("postgres"), f"sudo bash -c {shlex.quote(open_ports)}") == ""
    assert int(said(keeper.name, count)) >= before


def test_the_agent_on_the_database_host_reads_and_cannot_write() -> None:
    """What a backup host that was broken into could have it do: the unit's own limits are asked by a file it tries to write."""
    unit = said(
        node("postgres"), "systemctl list-units --plain --no-legend 'jinku-backup-agent@*.service' | head -1"
    ).split()[0]
    pid = said(node("postgres"), f"systemctl show -P MainPID {unit}")
    inside = f"sudo nsenter --mount --target {pid} runuser -u jinku-backup -g jinku-backup -G postgres -- "
    assert on(node("postgres"), inside + "head -c 1 /var/lib/postgresql/17/main/PG_VERSION").returncode == 0
    for path in ("/var/lib/postgresql/17/main/drill", "/etc/drill", "/var/lib/drill"):
        tried = on(node("postgres"), inside + f"touch {path}")
        assert tried.returncode != 0
        assert "Read-only file system" in tried.stderr, tried.stderr
