# SPDX-License-Identifier: Apache-2.0
"""The lab's receiver of alarms: a mail relay and a webhook on the controller's wan address, which keep what they get."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from jinku.lab_receiver import RECEIVER_MAIL_PORT, RECEIVER_WEBHOOK_PORT

from . import names
from .process import LabError

PROGRAM = "stacks.provider.lab.receiver_program"
OWNER = "JINKU_RECEIVER_ENV"  # variable of the process: the environment it belongs to
PORTS = (RECEIVER_MAIL_PORT, RECEIVER_WEBHOOK_PORT)


def folder(env: str) -> Path:
    """Where it keeps what it got."""
    return names.lab_directory(env) / "receiver"


def processes(env: str) -> list[int]:
    """Process ids of the environment's receiver, found by what the process was given."""
    found = []
    mark = f"{OWNER}={env}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words, given = (entry / "cmdline").read_bytes().split(b"\0"), (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark in given and PROGRAM.encode() in words:
            found.append(int(entry.name))
    return found


def running(env: str) -> bool:
    """True if the receiver's process lives."""
    return bool(processes(env))


async def ensure(env: str, address: str) -> None:
    """Start the receiver on `address`, which must be the controller's own, unless it runs."""
    if running(env):
        return
    if taken := [port for port in PORTS if await answers(address, port)]:
        raise LabError(
            f"receiver: another program has {address}:{taken[0]}; that port free on the controller would be right"
        )
    folder(env).mkdir(mode=0o700, parents=True, exist_ok=True)
    log = folder(env) / "log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", PROGRAM, address, str(folder(env))),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, OWNER: env},
            cwd="/",
        )
    for _ in range(100):
        await asyncio.sleep(0.1)
        if process.returncode is not None:
            break
        if all([await answers(address, port) for port in PORTS]):
            return
    raise LabError(f"receiver: nothing answers on {address}:{PORTS[0]}; {log} says why")


async def answers(address: str, port: int) -> bool:
    """True if something takes connections there."""
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    return True


async def remove(env: str) -> None:
    """End the receiver, if it runs."""
    for attempt in range(40):
        alive = processes(env)
        if not alive:
            return
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM if attempt < 20 else signal.SIGKILL)
        await asyncio.sleep(0.1)
    raise LabError(f"receiver: processes {processes(env)} do not end")
