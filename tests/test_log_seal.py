# SPDX-License-Identifier: Apache-2.0
"""What the log host says of its files to the witness (roles/log, jinku-log-seal), and what a check makes of that."""

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from programs import loaded

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAM = REPOSITORY / "roles/log/files/usr/local/sbin/jinku-log-seal"
WITNESS = REPOSITORY / "roles/witness/files/usr/local/sbin/jinku-witness"
ASKED = REPOSITORY / "compliance_tests/asked/sealed_files.py"
NAME = "db1/2026-11-28.log"
TEXT = b"a line\n" * 1000


@pytest.fixture
def seals():
    """The program's own function, without its loop; the program keeps what it has read in ``files`` and ``state``."""
    return sealer()


def sealer():
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
    summary = recording / "log.json"
    summary.write_text('{"user": "alice", "run_time": {"seconds": 9}}')
    assert seals(tmp_path) == []  # the rest of the session may still be written
    past(summary, 60)
    assert names(seals(tmp_path)) == ["log.json"]
    assert seals(tmp_path) == []


def past(file, seconds):
    """The file was changed so long ago."""
    os.utime(file, (time.time() - seconds,) * 2)


def test_the_summary_of_a_recording_is_sealed_behind_the_rest_of_it(seals, tmp_path, recording):
    (recording / "log.json").write_text('{"run_time": {}}')
    past(recording / "log.json", 60)
    assert [path.rpartition("/")[2] for path, _, _ in seals(tmp_path)] == ["log", "timing", "ttyout", "log.json"]


def test_a_recording_that_has_been_quiet_for_long_is_not_told_again(seals, tmp_path, recording):
    past(recording / "timing", 3 * 86400)
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
    told = seals(tmp_path)
    harm(recording)
    found, count = checked(tmp_path, told)
    assert bool(found) == bool(said)
    assert all(said in line for line in found)
    assert count == 3 - len(found)


def checked(folder, told):
    """What a check finds, and in how many files nothing, when the witness was told this."""
    files = {}
    witness = loaded(WITNESS)
    for path, size, digest in told:
        files.setdefault(path, witness.File()).seal(size, digest)
    text = f"SEALED = { ({path: file.told() for path, file in files.items()})!r}\n{ASKED.read_text()}"
    command = [sys.executable, "-IS", "-", str(folder), "36500"]
    *found, count = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    return found, int(count.split()[0])


def grow(file):
    with file.open("ab") as stream:
        stream.write(b"more\n")


def rewrite(file, place):
    with file.open("r+b") as stream:
        stream.seek(place)
        stream.write(b"#")


@pytest.mark.parametrize("packed", [False, True], ids=["as it is", "compressed"])
@pytest.mark.parametrize(("place", "found"), [(None, False), (3, True), (len(TEXT) + 1, True), (len(TEXT) + 6, True)])
def test_a_file_that_is_rewritten_and_grows_before_the_sealer_starts_again_is_found(
    tmp_path, log, place, found, packed
):
    """Wherever it is: in the oldest line, or in one of those that were sealed last."""
    running = sealer()
    told = running(tmp_path)
    for _ in range(2):
        grow(log)
        told += running(tmp_path)
    if place is not None:
        rewrite(log, place)
    grow(log)
    told += sealer()(tmp_path)
    grow(log)
    told += sealer()(tmp_path)
    if packed:
        log.with_name(f"{log.name}.gz").write_bytes(gzip.compress(log.read_bytes()))
        log.unlink()
    said, good = checked(tmp_path, told)
    assert (len(said), good) == ((1, 0) if found else (0, 1))
    assert all("before its newest seal was rewritten" in line for line in said)


@pytest.mark.parametrize("rewritten", [False, True])
def test_a_recording_that_is_rewritten_and_grows_before_the_sealer_starts_again_is_found(
    tmp_path, recording, rewritten
):
    told = sealer()(tmp_path)
    if rewritten:
        rewrite(recording / "ttyout", 2)
    grow(recording / "ttyout")
    told += [one for one in sealer()(tmp_path) if one not in told]
    said, good = checked(tmp_path, told)
    assert (len(said), good) == ((1, 2) if rewritten else (0, 3))


def test_what_a_full_volume_kept_from_being_sealed_is_sealed_afterwards(tmp_path, log):
    module = loaded(PROGRAM)
    files, state = {}, {"number": 0, "digest": ""}
    first = next(module.seals(tmp_path, files, state))
    before = dict(state)
    (tmp_path / ".seal.new").mkdir()  # what is written there fails with an OSError
    grow(log)
    with pytest.raises(OSError, match="seal"):
        list(module.seals(tmp_path, files, state))
    assert state == before
    (tmp_path / ".seal.new").rmdir()
    (second,) = map(json.loads, module.seals(tmp_path, files, state))
    assert (second["number"], second["previous"]) == (2, hashlib.sha256(first.encode()).hexdigest())
    assert [(path, size) for path, size, _ in second["files"]] == [(NAME, len(TEXT) + 5)]


def test_the_sealer_outlives_a_full_volume_says_so_once_and_gives_out_its_last_seal_again_at_a_start(tmp_path, log):
    """What it gives out is an unbroken chain; a volume of 4 KiB that is full would need root."""
    command = [sys.executable, "-u", str(PROGRAM), str(tmp_path), "0.05"]

    def run(act):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            line = process.stdout.readline()
            act(process)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
        return [line, *out.splitlines(keepends=True)], err

    def full(process):
        (tmp_path / ".seal.new").mkdir()
        grow(log)
        said = process.stderr.readline()
        assert "nothing is sealed" in said
        assert '"schema":"jinku/seal/' not in said
        time.sleep(0.3)
        (tmp_path / ".seal.new").rmdir()
        for line in process.stdout:
            if NAME in line:
                full.seen = line
                break

    lines, err = run(full)
    assert err == ""  # nothing but the line that was read
    assert json.loads(full.seen)["files"][0][1] == len(TEXT) + 5
    last = json.loads((tmp_path / ".seal").read_text())["line"]
    again, _ = run(lambda _: None)
    assert again[0] == f"{last}\n"
    assert json.loads(lines[0])["number"] == 1
