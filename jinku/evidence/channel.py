# SPDX-License-Identifier: Apache-2.0
"""A recording testinfra backend: one long-lived channel a host, each distinct command run once a session.

Tests stay plain testinfra; what they ask is kept as ``Observation`` with exit code, output, time and hash.
"""

import base64
import contextlib
import hashlib
import json
import shlex
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Container, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, cast

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from jinku.evidence.masking import mask, shorten
from jinku.evidence.records import Observation

HOST_PYTHON = "/usr/bin/python3 -I"
CONNECT_SECONDS = 5
# From there to the far end's first word; a machine that opens ten channels at once while it does other work took 15.
OPEN_SECONDS = 60
COMMAND_SECONDS = 20.0
# Of a question that is asked ahead: how long its test will allow is not known yet, and others run beside it.
AHEAD_SECONDS = 90.0
# How much longer than its own time a command is waited for.
GIVE_UP_SECONDS = 15.0
# What is kept of one output in the evidence; a longer one is cut, and the observation says so.
KEPT_CHARACTERS = 40_000


class Unreachable(Exception):  # noqa: N818 - the word of the verdicts
    """The host did not open a channel, or the channel broke: nothing can be said about it."""


class CommandTimeout(Exception):  # noqa: N818 - like subprocess.TimeoutExpired
    """A command did not end in its time: nothing can be said from it."""


@dataclass(frozen=True)
class Answer:
    """What a command gave: exit code, the unmasked output (bytes), and the observation that is kept of it."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    observation: Observation


def observation_of(
    name: str, where: str, command: str, exit_code: int, stdout: str, stderr: str, *, ended: datetime, seconds: float
) -> Observation:
    """Mask, shorten and hash one answer. ``seconds``: how long it took; ``name``: unique in the session."""
    kept = [shorten(text, KEPT_CHARACTERS) for text in (stdout, stderr)]
    return Observation(
        id=name,
        where=where,
        command=mask(command),
        exit_code=exit_code,
        stdout=kept[0],
        stderr=kept[1],
        shortened=max(len(stdout), len(stderr)) > KEPT_CHARACTERS,
        started=ended - timedelta(seconds=seconds),
        ended=ended,
        sha256=hashlib.sha256("".join(kept).encode()).hexdigest(),
    )


def far_end(*, sudo: bool) -> str:
    """Shell command that starts ``loop.py`` from its own text; nothing is written on the host."""
    source = base64.b64encode(files("jinku.evidence").joinpath("loop.py").read_bytes()).decode()
    code = f"""-c 'import base64;exec(base64.b64decode("{source}"))'"""
    # The system's own Python without what the environment or a user's folder would add; here it is the one that runs us.
    return f"/usr/bin/sudo -n {HOST_PYTHON} {code}" if sudo else f"{shlex.quote(sys.executable)} -I {code}"


def over_ssh(ssh_config: Path, node: str) -> list[str]:
    """Command line that opens a channel to ``node`` by the way in that production uses (through the bastion)."""
    options = [
        "BatchMode=yes",
        f"ConnectTimeout={CONNECT_SECONDS}",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
        "LogLevel=ERROR",
        "ControlMaster=no",
    ]
    flags = [word for option in options for word in ("-o", option)]
    return ["ssh", "-F", str(ssh_config), *flags, "-T", node, far_end(sudo=True)]


class Channel:
    """One process that answers commands of one host, as root.

    ``name``: what the observations call it. ``argv``: command line whose standard input and output speak to ``loop.py``.
    Opening begins at once and in the background; the first command waits for it.
    """

    def __init__(self, name: str, argv: Sequence[str], open_seconds: float = OPEN_SECONDS) -> None:
        self.name = name
        self._asked: dict[tuple[str, str | None], Future[Answer]] = {}
        self._waiting: dict[int, tuple[str, Future[Answer]]] = {}
        #: (command, given) by the id of the observation that it led to
        self.questions: dict[str, tuple[str, str | None]] = {}
        self._lock = threading.Lock()
        self._gone: Unreachable | None = None
        self._number = 0
        self._open: Future[None] = Future()
        self._process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._in, self._out, self._err = cast(
            "tuple[IO[str], IO[str], IO[str]]", (self._process.stdin, self._process.stdout, self._process.stderr)
        )
        self._said: deque[str] = deque(maxlen=5)
        self._deadline = threading.Timer(open_seconds, self._give_up, [open_seconds])
        self._deadline.start()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        threading.Thread(target=self._read, daemon=True).start()

    def _give_up(self, seconds: float) -> None:
        self._said.append(f"no channel within {seconds:.0f} s")
        self._process.kill()

    def _listen(self) -> None:
        for line in self._err:
            if line.strip():
                self._said.append(line.strip())

    def _read(self) -> None:
        for line in self._out:
            self._deadline.cancel()
            try:
                answer = json.loads(line)
            except ValueError:  # cut off when the far end was killed, or not a line of ours at all
                self._said.append(line.strip()[:200])
                self._process.kill()
                break
            if answer == "ready":
                self._open.set_result(None)
            else:
                self._take(*answer)
        self._deadline.cancel()
        # Not until the end of stderr: a shared connection that ssh left behind may hold it open for minutes.
        self._listener.join(0.5)
        gone = Unreachable(f"{self.name}: {self._said[-1] if self._said else 'no answer'}")
        if not self._open.done():
            self._open.set_exception(gone)
        with self._lock:
            lost, self._waiting, self._gone = self._waiting, {}, gone
        for _, future in lost.values():
            future.set_exception(gone)

    def _take(self, number: int, code: int | None, out: str, err: str, seconds: float) -> None:
        with self._lock:
            command, future = self._waiting.pop(number)
        if code is None:
            future.set_exception(CommandTimeout(f"{self.name}: no end after {seconds:.1f} s: {command}"))
            return
        stdout, stderr = base64.b64decode(out), base64.b64decode(err)
        future.set_result(
            Answer(
                code,
                stdout,
                stderr,
                observation_of(
                    self._id(number),
                    self.name,
                    command,
                    code,
                    stdout.decode(errors="replace"),
                    stderr.decode(errors="replace"),
                    ended=datetime.now(UTC),
                    seconds=seconds,
                ),
            )
        )

    def _id(self, number: int) -> str:
        return f"{self.name}-{number:03d}"

    def start(self, command: str, timeout: float = COMMAND_SECONDS, given: str | None = None) -> "Future[Answer]":
        """Ask, without waiting. The same command is asked once a session; ``timeout``: seconds of running on the host."""
        self._open.result()
        with self._lock:
            if (command, given) in self._asked:
                return self._asked[command, given]
            if self._gone:  # nobody reads any more, so the question would wait for nothing
                raise self._gone
            self._number += 1
            future: Future[Answer] = Future()
            self._asked[command, given] = future
            self._waiting[self._number] = (command, future)
            self.questions[self._id(self._number)] = (command, given)
            line = json.dumps([self._number, command, timeout, given])
        try:
            with self._lock:
                self._in.write(line + "\n")
                self._in.flush()
        except (OSError, ValueError) as error:  # broken, or closed by the end of the session
            raise Unreachable(f"{self.name}: the channel broke: {error}") from error
        return future

    def ask(self, command: str, timeout: float = COMMAND_SECONDS, given: str | None = None) -> Answer:
        """Ask and wait; a far end that does not keep to ``timeout`` is given up.

        :raises Unreachable: no channel, or it broke. :raises CommandTimeout: no end in time.
        """
        future = self.start(command, timeout, given)
        try:
            # The command may have to wait for others of its host; the far end counts its seconds from its own start.
            return future.result(timeout + GIVE_UP_SECONDS)
        except TimeoutError as error:
            raise CommandTimeout(
                f"{self.name}: no answer after {timeout + GIVE_UP_SECONDS:.0f} s: {command}"
            ) from error

    def prefetch(self, questions: Sequence[tuple[str, str | None]]) -> None:
        """Ask all (command, given) in the background; an unreachable host is silently left to the tests to meet."""

        def ask() -> None:
            try:
                for command, given in questions:
                    self.start(command, AHEAD_SECONDS, given)
            except Unreachable:
                return

        threading.Thread(target=ask, daemon=True).start()

    def forget(self, observations: Container[str]) -> None:
        """Ask again, when somebody does, what led to ``observations`` (their ids), and what ended without an answer."""
        with self._lock:
            seen = {question for name, question in self.questions.items() if name in observations}
            self._asked = {
                question: future
                for question, future in self._asked.items()
                if question not in seen and not (future.done() and future.exception())
            }

    def wait_open(self) -> None:
        """:raises Unreachable: the host could not be reached."""
        self._open.result()

    def close(self) -> None:
        """End the far end and the process; safe to call twice."""
        self._deadline.cancel()
        with contextlib.suppress(OSError):
            self._in.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class RecordingBackend(BaseBackend):  # type: ignore[misc]  # testinfra has no types
    """testinfra's view of a channel. ``seen`` hears of each observation that a test rests on, also of a repeated one."""

    NAME = "jinku"

    def __init__(self, channel: Channel, seen: Callable[[Observation], None]) -> None:
        super().__init__(channel.name)
        self.channel = channel
        self._seen = seen

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        """Run a shell command as root, or recall its answer.

        Keyword ``timeout``: seconds (default 20); ``given``: text for its standard input.

        :raises Unreachable: no channel. :raises CommandTimeout: it did not end in time.
        """
        text = self.get_command(command, *args)
        answer = self.channel.ask(text, kwargs.get("timeout", COMMAND_SECONDS), kwargs.get("given"))
        self._seen(answer.observation)
        return self.result(answer.exit_code, text.encode(), answer.stdout, answer.stderr)

    def get_encoding(self) -> str:
        """Every host speaks UTF-8 through the channel."""
        return "utf-8"

    def decode(self, data: bytes) -> str:
        """Bytes that are no UTF-8 (a binary file) are shown as replacement characters."""
        return data.decode("utf-8", errors="replace")


def host_over(channel: Channel, seen: Callable[[Observation], None]) -> Host:
    """A testinfra host whose commands go through ``channel`` and are recorded by ``seen``."""
    backend = RecordingBackend(channel, seen)
    host = Host(backend)
    backend.set_host(host)
    return host
