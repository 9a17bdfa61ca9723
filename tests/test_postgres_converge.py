# SPDX-License-Identifier: Apache-2.0
"""Two databases that were made apart are refused before anything is touched (roles/postgres/files/converge.sh)."""

import re
import subprocess

import pytest

from jinku.places import CHECKOUT

SCRIPT = (CHECKOUT / "roles/postgres/files/converge.sh").read_text()


def judged(folder, own, primaries):
    """What the script's own function says of data with the identifier ``own`` beside ``primaries`` (NAME=IDENTIFIER)."""
    control = folder / "pg_controldata"
    control.write_text(f"#!/bin/sh\necho 'Database system identifier:           {own}'\n")
    control.chmod(0o755)
    function = re.search(r"^must_be_of_one_kind\(\) \{.*?^\}", SCRIPT, re.MULTILINE | re.DOTALL)
    assert function
    script = (
        f"set -euo pipefail\nbin={folder} data={folder} primaries='{primaries}'\n{function[0]}\nmust_be_of_one_kind\n"
    )
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)


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
