# SPDX-License-Identifier: Apache-2.0
"""Programs of the lab that run on the controller, on its wan address: found by what they were given, not by a record that may be old."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .process import LabError


@dataclass(frozen=True)
class Daemon:
    """``name``: for people. ``owner``: variable of the process, the environment it belongs to. ``word``: one of its command line.

    ``ports``: what it listens on.
    """

    name: str
    owner: str
    word: str
    ports: tuple[int, ...]

    def processes(self, env: str) -> list[int]:
        """Process ids of the environment's."""
        found = []
        mark = f"{self.owner}={env}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words, given = (
                    (entry / "cmdline").read_bytes().split(b"\0"),
                    (entry / "environ").read_bytes().split(b"\0"),
                )
            except OSError:
                continue
            if mark in given and self.word.encode() in words:
                found.append(int(entry.name))
        return found

    def running(self, env: str) -> bool:
        """True if its process lives."""
        return bool(self.processes(env))

    async def ensure(
        self, env: str, address: str, arguments: Sequence[str], log: Path, given: Mapping[str, str] | None = None
    ) -> None:
        """Start `python -m` with ``arguments`` on ``address``, which must be the controller's own, unless it runs.

        ``given``: more variables for it. :raises LabError: a port is taken, or nothing answers there; then it is ended.
        """
        if self.running(env):
            return
        for port in self.ports:
            if await answers(address, port):
                raise LabError(
                    f"{self.name}: another program has {address}:{port}; that port free on the controller would be right"
                )
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **(given or {}), self.owner: env},
                cwd="/",
            )
        for _ in range(100):
            await asyncio.sleep(0.1)
            if process.returncode is not None:
                break
            if all([await answers(address, port) for port in self.ports]):
                return
        await self.remove(env)
        raise LabError(f"{self.name}: nothing answers on {address}:{self.ports[0]}; {log} says why")

    async def remove(self, env: str) -> None:
        """End it, if it runs."""
        for attempt in range(40):
            alive = self.processes(env)
            if not alive:
                return
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM if attempt < 20 else signal.SIGKILL)
            await asyncio.sleep(0.1)
        raise LabError(f"{self.name}: processes {self.processes(env)} do not end")


async def answers(address: str, port: int) -> bool:
    """True if something takes connections there."""
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    return True
