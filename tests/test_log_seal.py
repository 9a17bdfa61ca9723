# SPDX-License-Identifier: Apache-2.0
"""What the log host says of its files to the witness (roles/log, jinku-log-seal)."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest
from programs import loaded

PROGRAM = Path(__file__).parent.parent / "roles/log/files/usr/local/sbin/jinku-log-seal"
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
