# SPDX-License-Identifier: Apache-2.0
"""jinku-integrity on a made-up host: what `settle` does with the database, and with a check that has failed before."""

import os
import re
import subprocess

import pytest
import yaml

from jinku.places import CHECKOUT

PROGRAM = CHECKOUT / "hardening/integrity/files/usr/local/libexec/jinku-integrity"


@pytest.fixture
def settle(tmp_path):
    """Run `settle` below ``tmp_path``: (its output, the commands of systemctl). ``failed``: the daily check had found something."""
    bin_, ran = tmp_path / "bin", tmp_path / "ran"
    bin_.mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "jinku").mkdir()
    programs = {
        "aide": f'case "$*" in *--update | *--init) echo new >{tmp_path}/aide/jinku.db.new ;; esac; exit 4',
        "logger": ":",
        "systemctl": f'echo "$*" >>{ran}; case "$1" in is-failed) test -e {tmp_path}/failed ;; esac',
    }
    for name, text in programs.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{text}\n")
        (bin_ / name).chmod(0o755)
    text = PROGRAM.read_text()
    for there in ("/var/lib/aide", "/var/lib/jinku", "/run"):
        text = text.replace(f"{there}/", f"{tmp_path}/{there.rpartition('/')[2]}/")

    def run(*, failed, changed=True):
        ran.write_text("")
        for path, there in ((tmp_path / "failed", failed), (tmp_path / "jinku/changed", changed)):
            path.touch() if there else path.unlink(missing_ok=True)
        path = f"{bin_}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-c", text, "jinku-integrity", "settle"],
            env={"PATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert not (tmp_path / "jinku/changed").exists()
        return done.stdout.strip(), ran.read_text().splitlines()

    return run


AGAIN = "start --no-block jinku-integrity.service"


def test_a_check_that_had_failed_looks_again_once_the_run_has_settled(settle):
    """A file edited by hand is mended by `up`; the alarm of it fired on until somebody started the unit."""
    assert AGAIN not in settle(failed=False)[1]
    said, ran = settle(failed=True)
    assert said == "settled"
    assert AGAIN in ran


def test_a_run_that_changed_nothing_asks_nothing(settle):
    settle(failed=False)
    assert settle(failed=True, changed=False) == ("unchanged", [])


def test_the_content_of_every_file_that_a_role_ships_is_watched():
    """Of a whole folder only owners and modes were kept: who may fetch the database's files could be changed there unseen."""
    text = (CHECKOUT / "hardening/integrity/defaults/main.yml").read_text(encoding="utf-8")
    renewed = re.compile("|".join(f"(?:{pattern})" for pattern in yaml.safe_load(text)["integrity_renewed"]))
    shipped = [
        entry["path"]
        for manifest in [*CHECKOUT.glob("roles/*/manifest*.yml"), *CHECKOUT.glob("hardening/*/manifest*.yml")]
        for entry in yaml.safe_load(manifest.read_text(encoding="utf-8"))
        if entry.get("state", "file") == "file"
    ]
    assert "/etc/jinku/backup/agent.conf" in shipped
    assert [path for path in shipped if renewed.match(path)] == []
    assert renewed.match("/etc/jinku/tls/host.pem")


@pytest.mark.parametrize("role", ["roles/backup", "roles/crm", "roles/monitor", "roles/room", "hardening/power"])
def test_what_the_agent_writes_anew_is_no_change_of_a_host(role):
    """A secret that is rotated would be found as a change by every daily check."""
    text = (CHECKOUT / "hardening/integrity/defaults/main.yml").read_text(encoding="utf-8")
    renewed = re.compile("|".join(f"(?:{pattern})" for pattern in yaml.safe_load(text)["integrity_renewed"]))
    agents = "".join(
        path.read_text(encoding="utf-8") for path in (CHECKOUT / role).glob("templates/etc/jinku/agent.d/*")
    )
    written = re.findall(r'destination += "([^"]+)"', agents)
    assert written
    assert [path for path in written if not renewed.match(path)] == []
