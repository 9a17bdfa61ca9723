# SPDX-License-Identifier: Apache-2.0
"""What the log host says of its files to the witness (roles/log, jinku-log-seal), and what a check makes of that."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from programs import loaded

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAM = REPOSITORY / "roles/log/files/usr/local/sbin/jinku-log-seal"
ASKED = REPOSITORY / "compliance_tests/asked/sealed_files.py"
NAME = "db1/2026-11-28.log"
TEXT = b"a line\n" * 1000


@pytest.fixture
def seals():
    """The program's own function, without its loop; the program keeps what it has read in ``files`` and ``state``."""
    module = loaded(PROGRAM)
    files, state = {}, {"number": 0, "digest": ""}
    return lambda folder: [file for line in module.seals(folder, files, state) for file in json.loads(line)["files"]]


@pytest.fixture
def log(tmp_path):
    file = tmp_path / NAME
    file.parent.mkdir()
    file.write_bytes(TEXT)
    return file


def test_what_grows_is_sealed_whole_and_what_stays_is_not_sealed_again(seals, tmp_path, log):
    assert seals(tmp_path) == [[NAME, len(TEXT), hashlib.sha256(TEXT).hexdigest()]]
    assert seals(tmp_path) == []
    with log.open("ab") as stream:
        stream.write(b"more\n")
    assert seals(tmp_path) == [[NAME, len(TEXT) + 5, hashlib.sha256(TEXT + b"more\n").hexdigest()]]


def test_a_file_that_is_being_compressed_is_sealed_as_it_was_and_is_the_same_afterwards(seals, tmp_path, log):
    before = seals(tmp_path)
    whole = gzip.compress(TEXT)
    packed = log.with_name(f"{log.name}.gz")
    packed.write_bytes(whole[: len(whole) // 2])
    assert seals(tmp_path) == []
    packed.write_bytes(whole)
    log.unlink()
    assert seals(tmp_path) == before


def test_what_became_shorter_is_sealed_as_it_is(seals, tmp_path, log):
    seals(tmp_path)
    log.write_bytes(b"other\n")
    assert seals(tmp_path) == [[NAME, 6, hashlib.sha256(b"other\n").hexdigest()]]


@pytest.fixture
def recording(tmp_path):
    """A session that goes on: what was printed, when, and who it is, as sudo_logsrvd writes them."""
    folder = tmp_path / "sessions/db1/alice/2026-11-28/093000-x7Qk2a"
    folder.mkdir(parents=True)
    for name, text in {
        "log": "alice",
        "timing": "4 0.1 9\n",
        "ttyout": "printed",
        "log.json": '{"user": "alice"}',
    }.items():
        (folder / name).write_text(text)
    return folder


def names(sealed):
    return sorted(path.rpartition("/")[2] for path, _, _ in sealed)


def test_a_recording_is_sealed_while_it_is_made_and_its_summary_at_its_end(seals, tmp_path, recording):
    assert names(seals(tmp_path)) == ["log", "timing", "ttyout"]
    with (recording / "ttyout").open("a") as stream:
        stream.write("more")
    assert names(seals(tmp_path)) == ["ttyout"]
    (recording / "log.json").write_text('{"user": "alice", "run_time": {"seconds": 9}}')
    assert names(seals(tmp_path)) == ["log.json"]
    assert seals(tmp_path) == []


def test_a_recording_that_has_been_quiet_for_long_is_not_told_again(seals, tmp_path, recording):
    days = time.time() - 3 * 86400
    os.utime(recording / "timing", (days, days))
    assert seals(tmp_path) == []


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "ttyout").write_text("PRINTED"), "are not those that were sealed"),
        (lambda folder: (folder / "timing").write_text(""), "holds 0 bytes"),
        (shutil.rmtree, "is gone"),
        (lambda _: None, None),
    ],
    ids=["changed", "shortened", "removed", "as it was"],
)
def test_a_check_finds_a_recording_that_was_harmed_after_it_was_sealed(seals, tmp_path, recording, harm, said):
    sealed = {path: [size, digest] for path, size, digest in seals(tmp_path)}
    harm(recording)
    text = f"SEALED = {sealed!r}\n{ASKED.read_text()}"
    command = [sys.executable, "-IS", "-", str(tmp_path), "36500"]
    *found, count = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    assert bool(found) == bool(said)
    assert all(said in line for line in found)
    assert int(count.split()[0]) == 3 - len(found)
