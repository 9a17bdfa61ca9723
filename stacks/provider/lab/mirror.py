# SPDX-License-Identifier: Apache-2.0
"""The lab's package mirror: a forward proxy on the controller's wan address that reaches the Debian archive and nothing else."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from . import names, sources
from .process import LabError

PORT = 3142
ALLOWED = "JINKU_MIRROR_HOSTS"  # variable of the proxy process: host names it may fetch from, separated by commas

OWNER = "JINKU_MIRROR_ENV"  # and the environment it belongs to


def log_file(env: str) -> Path:
    """What the proxy says."""
    return names.lab_directory(env) / "mirror.log"


def processes(env: str) -> list[int]:
    """Process ids of the environment's mirror, found by what the process was given, not by a record that may be old."""
    found = []
    mark = f"{OWNER}={env}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words, given = (
                (folder / "cmdline").read_bytes().split(b"\0"),
                (folder / "environ").read_bytes().split(b"\0"),
            )
        except OSError:
            continue
        if mark in given and b"stacks.provider.lab.mirror_filter.AllowedHosts" in words:
            found.append(int(folder.name))
    return found


def running(env: str) -> bool:
    """True if the mirror's process lives."""
    return bool(processes(env))


async def ensure(env: str, address: str) -> None:
    """Start the mirror on `address`, which must be the controller's own, unless it runs."""
    if running(env):
        return
    if await answers(address):
        raise LabError(f"mirror: another program has {address}:{PORT}; that port free on the controller would be right")
    log = log_file(env)
    log.parent.mkdir(parents=True, exist_ok=True)
    allowed = ",".join(sorted(sources.controller_sources().hosts()))
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "proxy", "--hostname", address, "--port", str(PORT), "--num-workers", "1", "--num-acceptors", "1",
            "--log-level", "WARNING", "--plugins", "stacks.provider.lab.mirror_filter.AllowedHosts",
            stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, ALLOWED: allowed, OWNER: env}, cwd="/",
        )  # fmt: skip
    for _ in range(100):
        await asyncio.sleep(0.1)
        if process.returncode is not None:
            break
        if await answers(address):
            return
    raise LabError(f"mirror: nothing answers on {address}:{PORT}; {log} says why")


async def answers(address: str) -> bool:
    """True if something takes connections on the mirror's port."""
    try:
        _, writer = await asyncio.open_connection(address, PORT)
    except OSError:
        return False
    writer.close()
    return True


async def remove(env: str) -> None:
    """End the mirror, if it runs."""
    for attempt in range(40):
        alive = processes(env)
        if not alive:
            return
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM if attempt < 20 else signal.SIGKILL)
        await asyncio.sleep(0.1)
    raise LabError(f"mirror: processes {processes(env)} do not end")
