# SPDX-License-Identifier: Apache-2.0
"""The far end of a channel: it runs on the host, from the standard library only, and is sent as text by ``channel``.

One JSON line in: ``[number, command, timeout in seconds, standard input or null]``.
One JSON line out: ``[number, exit code or null on timeout, stdout, stderr, seconds]``, the texts in base64.
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

# Commands of one host that run at once: enough to hide the slow ones, too few to disturb a busy host.
AT_ONCE = 4
_WRITING = threading.Lock()


def say(answer: object) -> None:
    """Write one answer as one line."""
    with _WRITING:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def run(number: int, command: str, timeout: float, given: "str | None") -> None:
    """Run ``command`` in a shell of its own session and answer; after ``timeout`` seconds kill the whole session."""
    start = time.monotonic()
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        start_new_session=True,
    )
    code: int | None
    try:
        out, err = process.communicate(None if given is None else given.encode(), timeout)
        code = process.returncode
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code, out, err = None, b"", b""
    texts = [base64.b64encode(text).decode() for text in (out, err)]
    say([number, code, *texts, round(time.monotonic() - start, 3)])


def main() -> None:
    """Answer until standard input ends. The system's own programs come first: what was planted beside them is not asked."""
    os.environ.update(LC_ALL="C.UTF-8", PATH="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
    say("ready")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for line in sys.stdin:
            pool.submit(run, *json.loads(line))


if __name__ == "__main__":
    main()
