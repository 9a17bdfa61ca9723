# SPDX-License-Identifier: Apache-2.0
"""What a receiver of log lines makes of them before it confirms (roles/log, jinku-log-keep). With rsyslog itself: tests/log_delivery."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from programs import loaded

PROGRAM = Path(__file__).parent.parent / "roles/log/files/usr/local/sbin/jinku-log-keep"
NAME = "db1/2026-11-28.log"


@pytest.fixture
def keep(tmp_path):
    """The program's own function, for a folder of the test."""
    module = loaded(PROGRAM)
    return lambda text: module.keep(tmp_path, os.getgid(), text)


def test_a_line_is_added_to_its_file_which_others_do_not_read(keep, tmp_path):
    keep(f"{NAME} first 1\n".encode())
    keep(f"{NAME} second\n".encode())
    assert (tmp_path / NAME).read_text() == "first 1\nsecond\n"
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "db1").stat().st_mode & 0o777 == 0o750


def test_a_torn_line_stays_as_it_is_and_the_next_begins_a_line(keep, tmp_path):
    keep(f"{NAME} first\n".encode())
    with (tmp_path / NAME).open("a") as stream:
        stream.write("hal")
    keep(f"{NAME} half\n".encode())
    assert (tmp_path / NAME).read_text() == "first\nhal\nhalf\n"


@pytest.mark.parametrize("text", ["../2026-11-28.log out\n", "no name\n", "db1/x.log y\n", "\n"])
def test_what_names_no_file_of_lines_is_kept_as_a_whole(keep, tmp_path, text):
    keep(text.encode())
    (file,) = tmp_path.rglob("*.log")
    assert file.parent == tmp_path / "unknown"
    assert file.read_text() == text


def test_a_link_is_not_followed(keep, tmp_path):
    (tmp_path / "db1").mkdir()
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        keep(f"{NAME} line\n".encode())
    assert not (tmp_path / "elsewhere").exists()


def test_each_line_is_answered_and_a_refused_one_is_not_confirmed(tmp_path):
    (tmp_path / "crm1").write_text("no folder")
    command = [sys.executable, str(PROGRAM), str(tmp_path), "root"]
    if os.geteuid() != 0:
        pytest.skip("needs root: it gives files to a group")
    given = f"{NAME} one\ncrm1/2026-11-28.log two\n{NAME} three\n"
    said = subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["OK", "OK", f"not kept: {os.strerror(errno.ENOTDIR)}", "OK"]
    assert (tmp_path / NAME).read_text() == "one\nthree\n"
