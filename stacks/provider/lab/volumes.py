# SPDX-License-Identifier: Apache-2.0
"""Data that outlives its host: an ext4 file system in a sparse file, mounted by the host's keeper while the host runs."""

import re
from dataclasses import dataclass
from pathlib import Path

from . import names
from .process import LabError, locked, run

GIB = 1024**3


@dataclass(frozen=True)
class Volume:
    """Inputs of a volume. size_gib: GiB. disposable: it may be deleted with what is in it."""

    env: str
    site: str
    name: str
    size_gib: int
    disposable: bool = False


def image_file(env: str, site: str, name: str) -> Path:
    """The file that holds a volume. Raises ValueError for a name that is no plain one."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
        raise ValueError(f"name: {name!r} is no name of a volume; small letters, digits and hyphens")
    return names.lab_directory(env) / "volumes" / site / f"{name}.ext4"


async def ensure(env: str, site: str, name: str, size_gib: int) -> Path:
    """Make the volume unless it is there, and return its file. Its content is never touched here.

    size_gib: size in GiB; space is taken only as it is written. `encrypt` lets its owner use fscrypt on it later.
    """
    path = image_file(env, site, name)
    async with locked(path.with_suffix(".lock")):
        if path.exists():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        with draft.open("xb") as file:
            file.truncate(size_gib * GIB)
        draft.chmod(0o600)
        await run(
            "mkfs.ext4",
            "-q",
            "-O",
            "encrypt",
            "-E",
            "lazy_itable_init=1,lazy_journal_init=1",
            "-m",
            "0",
            "-L",
            name[:16],
            draft,
        )
        draft.rename(path)
    return path


def size_gib(env: str, site: str, name: str) -> int | None:
    """Size of a volume in GiB; None if it is not there."""
    path = image_file(env, site, name)
    return path.stat().st_size // GIB if path.exists() else None


async def grow(env: str, site: str, name: str, wanted_gib: int) -> None:
    """Make a volume larger, its content kept. Raises LabError if it would become smaller or a host uses it."""
    path = image_file(env, site, name)
    if wanted_gib * GIB < path.stat().st_size:
        raise LabError(f"size_gib: {name}: {wanted_gib} is less than the volume has; a larger size would be right")
    if await attached(path):
        raise LabError(f"size_gib: {name}: a running host uses it; stop the host, then grow the volume")
    with path.open("r+b") as file:
        file.truncate(wanted_gib * GIB)
    await run("e2fsck", "-f", "-p", path, check=False)
    await run("resize2fs", path)


async def attached(path: Path) -> list[str]:
    """Loop devices that hold a file."""
    told = await run("losetup", "--noheadings", "--output", "NAME", "--associated", path, check=False)
    return told.split()


async def remove(env: str, site: str, name: str, *, disposable: bool) -> None:
    """Delete a volume and what is in it. Raises LabError unless it is disposable."""
    path = image_file(env, site, name)
    if not path.exists():
        return
    if not disposable:
        raise LabError(
            f"{name}: holds data and is protected; `disposable: true` in environment.yaml would allow to delete it"
        )
    for device in await attached(path):
        await run("losetup", "--detach", device, check=False)
    path.unlink()
    path.with_suffix(".lock").unlink(missing_ok=True)
