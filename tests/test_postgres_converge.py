# SPDX-License-Identifier: Apache-2.0
"""Which data roles/postgres/files/converge.sh refuses before anything is touched, and what it asks the other site first."""

import os
import re
import subprocess

import pytest

from jinku.places import CHECKOUT

SCRIPT = (CHECKOUT / "roles/postgres/files/converge.sh").read_text()


def function(name):
    """The text of one of the script's own functions."""
    found = re.search(rf"^{name}\(\) \{{.*?^\}}", SCRIPT, re.MULTILINE | re.DOTALL)
    assert found
    return found[0]


def ran(name, before, text=None):
    """One of the script's own functions (or ``text`` in its place), called after these lines."""
    script = f"set -euo pipefail\n{before}\n{text or function(name)}\n{name}\n"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)


def judged(folder, own, primaries):
    """What the script's own function says of data with the identifier ``own`` beside ``primaries`` (NAME=IDENTIFIER)."""
    control = folder / "pg_controldata"
    control.write_text(f"#!/bin/sh\necho 'Database system identifier:           {own}'\n")
    control.chmod(0o755)
    return ran("must_be_of_one_kind", f"bin={folder} data={folder} primaries='{primaries}'")


def test_another_primary_of_another_making_is_named(tmp_path):
    done = judged(tmp_path, 7001, "db2=7002 ")
    assert done.returncode == 1
    assert "that of db2, which is a primary too, were made apart" in done.stderr


@pytest.mark.parametrize("primaries", ["", "db2=7001 "])
def test_no_other_primary_and_one_of_the_same_making_are_taken(tmp_path, primaries):
    assert (judged(tmp_path, 7001, primaries).returncode, judged(tmp_path, 7001, primaries).stderr) == (0, "")


def test_a_standby_is_not_asked(tmp_path):
    (tmp_path / "standby.signal").touch()
    assert judged(tmp_path, 7001, "db2=7002").returncode == 0


@pytest.mark.parametrize(("new", "asked"), [(True, False), (False, True)])
def test_a_cluster_that_was_just_made_asks_nobody_and_leaves_that_mark_to_its_unit(tmp_path, new, asked):
    """The guard takes the mark away; the unit's own one then waited 20 s for a site that is not there yet."""
    mark = tmp_path / "new"
    if new:
        mark.touch()
    done = ran("may_be_primary", f"new={mark} check=\njinku-postgres() {{ touch {tmp_path}/asked; }}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "asked").exists() == asked
    assert mark.exists() == new


@pytest.mark.parametrize(("loaded", "newer"), [("100.500000", "pg_hba.conf"), ("200.250000", ""), ("300.000000", "")])
def test_a_plan_names_the_file_for_which_the_server_would_be_reloaded(tmp_path, loaded, newer):
    """`server: reloaded` alone sent whoever read it looking. A file as old as the load is no newer one."""
    for name, changed in (("postgresql.conf", 50.5), ("pg_hba.conf", 200.25), ("host.pem", 99)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (changed, changed))
    server = function("run_server").replace("/etc/jinku/tls", str(tmp_path))
    answers = f"sql() {{ case $* in *conf_load_time*) echo {loaded} ;; *count*) echo 0 ;; esac; }}"
    changed = 'changed() { echo "$*"; [ -z "$check" ]; }'
    done = ran("run_server", f"conf={tmp_path} check=1 unit=u\nsystemctl() {{ :; }}\n{answers}\n{changed}", server)
    said = f"server: reloaded, for {tmp_path}/{newer} is newer than what it has loaded\n" if newer else ""
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
