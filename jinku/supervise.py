# SPDX-License-Identifier: Apache-2.0
"""Runs ansible-playbook so that nothing of it is left when it ends: ``python -m jinku.supervise PROGRAM ARGUMENT...``.

When ansible-playbook is told to end (SIGTERM) it may miss a worker that it has just forked; such a one, in a session of its own,
then goes on, or waits for ever (seen with ansible-core 2.19 in one of thirty tries). This process is what orphans below it
fall to (prctl(2), PR_SET_CHILD_SUBREAPER), so it finds them. A connection that ssh keeps open in the background stays.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

_PR_SET_CHILD_SUBREAPER = 36
#: Seconds that ansible-playbook may take to end after it was told to.
_TO_END = 10.0


def below(process: int) -> list[int]:
    """Ids of all processes that descend from one."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(words[1]), []).append(int(stat.parent.name))
    found = list(children.get(process, []))
    for one in found:
        found += children.get(one, [])
    return found


def end_all(program: str) -> None:
    """Kill what still runs below this process and has the program in its command line."""
    name = os.fsencode(Path(program).name)
    for _ in range(20):
        left = []
        for process in below(os.getpid()):
            with contextlib.suppress(OSError):
                if name in Path(f"/proc/{process}/cmdline").read_bytes():
                    left.append(process)
        if not left:
            return
        for process in left:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(OSError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.05)


def main(command: list[str]) -> int:
    """Run the command to its end and return its exit code, 128 + N when signal N ended it."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    told: list[float] = []

    def tell(_signal: int, _frame: FrameType | None) -> None:
        told.append(time.monotonic())

    signal.signal(signal.SIGTERM, tell)
    # A terminal sends it to ansible-playbook, too, which ends in its own way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as child:  # noqa: PLW1509 - no thread runs yet
        sent = False
        while child.poll() is None:
            if told and not sent:
                child.terminate()
                sent = True
            if told and time.monotonic() - told[0] > _TO_END:
                child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.2)
    end_all(command[0])
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
