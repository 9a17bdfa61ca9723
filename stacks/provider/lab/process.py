# SPDX-License-Identifier: Apache-2.0
"""Runs programs without blocking the event loop, and locks without blocking it either."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path


class LabError(Exception):
    """A step of the lab failed; the text says which and what would be right."""


async def run(
    *command: str | Path, stdin: str | None = None, check: bool = True, env: dict[str, str] | None = None
) -> str:
    """Run a program to its end and return its standard output.

    command: program and arguments, no shell. stdin: text given to it. env: variables added to ours.
    Raises LabError with the end of its standard error, if `check` and the exit code is not 0, or if the program is missing.
    """
    words = [str(word) for word in command]
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
        )
    except FileNotFoundError as missing:
        raise LabError(f"{words[0]}: the program is not installed; `jinku doctor` names its package") from missing
    out, err = await process.communicate(stdin.encode() if stdin is not None else None)
    if check and process.returncode != 0:
        tail = "\n".join(err.decode(errors="replace").strip().splitlines()[-15:])
        raise LabError(f"{' '.join(words)[:300]}: exit code {process.returncode}: {tail}")
    return out.decode(errors="replace")


async def succeeds(*command: str | Path) -> bool:
    """True if the program ends with exit code 0."""
    try:
        await run(*command)
    except LabError:
        return False
    return True


async def in_netns(netns: str, *command: str | Path, stdin: str | None = None) -> str:
    """Run a program in a named network namespace; `nsenter`, because `ip netns exec` mounts /sys anew. As `run` otherwise."""
    return await run("nsenter", f"--net=/run/netns/{netns}", "--", *command, stdin=stdin)


@contextlib.asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Hold an exclusive lock on a file, across tasks and processes; the kernel drops it if we die."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


async def ip(netns: str | None, lines: Sequence[str]) -> None:
    """Run several `ip` commands as one batch in a network namespace (None: the controller's own)."""
    if lines:
        where = ["-n", netns] if netns else []
        await run("ip", *where, "-batch", "-", stdin="\n".join(lines) + "\n")
