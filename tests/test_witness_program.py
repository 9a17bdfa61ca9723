# SPDX-License-Identifier: Apache-2.0
"""What the witness makes of the seals that reached it (roles/witness)."""

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent.parent / "roles/witness/files/usr/local/sbin/jinku-witness"
FILE = "db1/2026-11-28.log"


def chain(*sizes):
    """Seals of one growing file, each naming the one before."""
    return linked(*[[(FILE, size)] for size in sizes])


def linked(*bunches):
    """Seals of such files (path, size), each naming the one before."""
    texts, previous = [], ""
    for number, bunch in enumerate(bunches, 1):
        files = [[path, size, f"digest of {size}"] for path, size in bunch]
        texts.append(json.dumps({"number": number, "previous": previous, "files": files}))
        previous = hashlib.sha256(texts[-1].encode()).hexdigest()
    return texts


@pytest.fixture
def check(tmp_path):
    """``check(texts)``: exit code and words of `jinku-witness check` when these seals have come, in this order."""

    def judge(texts):
        folder = tmp_path / "aud1"
        folder.mkdir(exist_ok=True)
        now = datetime.now(UTC).isoformat()
        (folder / "2026-11.log").write_text("".join(f"{now} {text}\n" for text in texts))
        command = [sys.executable, str(PROGRAM), "check", str(tmp_path), "60"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    return judge


def test_a_chain_of_seals_of_growing_files_is_in_order(check):
    assert check(chain(10, 20, 20, 35)) == (0, "")


def test_what_is_delivered_twice_after_a_host_went_down_is_no_contradiction(check):
    first, second, third, fourth = chain(10, 20, 30, 40)
    assert check([first, second, third, second, third, fourth]) == (0, "")


def test_each_size_that_was_ever_sealed_is_told_to_a_check(check, tmp_path):
    """By its step, and with a digest of all of them; what contradicts is not among them."""
    check(chain(10, 20, 20, 35, 30, 40))
    command = [sys.executable, str(PROGRAM), "sealed", str(tmp_path), "aud1"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    every = "".join(f"{size} digest of {size}\n" for size in (10, 20, 35, 40))
    assert told == {FILE: [40, "digest of 40", "10 10 15 5", hashlib.sha256(every.encode()).hexdigest()]}


RECORDING = "sessions/db1/alice/2026-11-28/093000-x7Qk2a"


@pytest.mark.parametrize(
    ("later", "named"),
    [
        ([("ttyout", 9)], True),
        ([("log.json", 9)], True),
        ([("ttyout", 8), ("log.json", 8)], False),  # the sealer was started again
    ],
)
def test_a_recording_that_grows_after_its_end_is_named(check, later, named):
    """Until its log.json is sealed, which then says how long it took, it may grow."""
    bunches = [
        [("ttyout", 5)],
        [("ttyout", 8)],
        [("log.json", 8)],
        later,
        [("log.json", 8)] * (later[0][0] == "ttyout"),
    ]
    code, said = check(linked(*[[(f"{RECORDING}/{name}", size) for name, size in bunch] for bunch in bunches]))
    assert code == named
    assert ("it grew afterwards" in said) is named
    assert len(said.splitlines()) == named


def test_another_recording_goes_on_while_one_is_at_its_end(check):
    other = RECORDING.replace("x7Qk2a", "y8Rl3b")
    assert check(linked([(f"{other}/ttyout", 5)], [(f"{RECORDING}/log.json", 8)], [(f"{other}/ttyout", 6)])) == (0, "")


def test_a_file_that_became_shorter_is_named(check):
    code, said = check(chain(10, 30, 20))
    assert code == 1
    assert f"{FILE}: sealed at" in said


@pytest.mark.parametrize("come", ["missing", "changed", "a new chain"])
def test_a_seal_that_does_not_continue_the_one_before_is_named(check, come):
    first, second, third = chain(10, 20, 30)
    came = {
        "missing": [first, third],
        "changed": [first, second.replace("20", "21"), third],
        "a new chain": [first, second, *chain(9)],
    }
    code, said = check(came[come])
    assert code == 1
    assert "does not continue seal" in said


@pytest.mark.parametrize("kept", [0, 30], ids=["within its time", "within its text"])
def test_a_seal_that_a_full_volume_tore_and_that_came_again_is_no_contradiction(check, kept):
    first, second, third = chain(10, 20, 30)
    assert check([first, second[:kept], second[:kept], second, third]) == (0, "")
    assert check([first, second, second[:kept], second, third]) == (0, "")


@pytest.mark.parametrize("come", ["never whole", "whole before only", "no seal"])
def test_what_is_no_seal_is_named_and_the_others_are_judged(check, come):
    first, second, third = chain(10, 20, 30)
    came = {
        "never whole": [first, second, third[:-3]],
        "whole before only": [first, second, second[:-3], third],
        "no seal": [first, "no seal", "no seal", second, third],
    }
    code, said = check(came[come])
    assert code == 1
    assert len(said.splitlines()) == 1
    assert said.endswith("is no seal\n")


def test_a_log_host_without_any_seal_is_named(check):
    code, said = check([])
    assert code == 1
    assert "aud1: no seal for" in said
