# SPDX-License-Identifier: Apache-2.0
"""A run of Ansible leaves no worker behind, however it ends; what ssh keeps open in the background stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jinku.places import CHECKOUT

#: Stands for ansible-playbook: a worker in a session of its own, and a connection in the background, both of which outlive it.
RUN = """#!/bin/sh
if [ "$1" = worker ]; then while :; do sleep 0.1; done; fi
setsid "$0" worker & echo $! > "$0.worker"
setsid sleep 61 & echo $! > "$0.connection"
case $1 in
wait) while :; do sleep 0.1; done ;;
deaf) trap '' TERM; while :; do sleep 0.1; done ;;
killed) kill -KILL $$ ;;
*) exit "$1" ;;
esac
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    made = tmp_path / "ansible-playbook"
    made.write_text(RUN)
    made.chmod(0o755)
    return made


def supervised(program: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "jinku.supervise", str(program), *words], cwd=CHECKOUT)


def number(program: Path, what: str) -> int:
    file, deadline = Path(f"{program}.{what}"), time.monotonic() + 20
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(file.read_text())


def runs(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(("word", "code"), [("0", 0), ("3", 3), ("killed", 128 + signal.SIGKILL)])
def test_the_exit_code_goes_through_and_no_worker_is_left(program: Path, word: str, code: int) -> None:
    assert supervised(program, word).wait(20) == code
    assert not runs(number(program, "worker"))
    connection = number(program, "connection")
    assert runs(connection)
    os.kill(connection, signal.SIGKILL)


def test_who_is_told_to_end_ends_with_all_workers(program: Path) -> None:
    process = supervised(program, "wait")
    worker, connection = number(program, "worker"), number(program, "connection")
    assert runs(worker)
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert not runs(worker)
    os.kill(connection, signal.SIGKILL)


def test_who_does_not_end_when_told_is_killed(program: Path) -> None:
    at_once = "import sys; from jinku import supervise; supervise._TO_END = 0.5; sys.exit(supervise.main(sys.argv[1:]))"
    process = subprocess.Popen([sys.executable, "-c", at_once, str(program), "deaf"], cwd=CHECKOUT)
    worker, connection = number(program, "worker"), number(program, "connection")
    time.sleep(0.5)  # until it is deaf
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGKILL
    assert not runs(worker)
    os.kill(connection, signal.SIGKILL)
