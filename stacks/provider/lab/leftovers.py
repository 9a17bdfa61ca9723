# SPDX-License-Identifier: Apache-2.0
"""Finds and removes all that an environment has on this machine, by name, whatever Pulumi's state says."""

import asyncio
from pathlib import Path

from jinku import lab_network

from . import cgroups, hosts, links, mirror, names, outside, receiver, volumes
from .process import run


async def leftovers(env: str) -> dict[str, list[str]]:
    """What an environment has here: by sort, names. Empty lists are left out; so {} means a clean machine.

    Sorts: cgroups, processes (of guests, the mirror and the receiver), netns, interfaces, loops, mounts, folders, hosts, volumes.
    """
    folder, prefix = names.lab_directory(env), names.prefix(env)
    backing = await run("losetup", "--noheadings", "--raw", "--output", "NAME,BACK-FILE", check=False)
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found = {
        "cgroups": [str(path) for path in cgroups.found(prefix)],
        "processes": [
            str(pid)
            for pid in sorted({*keepers(folder), *mirror.DAEMON.processes(env), *receiver.DAEMON.processes(env)})
        ],
        "netns": sorted(path.name for path in links.NETNS.glob(f"{prefix}*")),
        "interfaces": [name for name in await links.links(None) if name == lab_network.controller_interface(env)],
        "loops": [line.split()[0] for line in backing.splitlines() if f" {folder}/" in line],
        "mounts": [mount for mount in mounts if mount.startswith(f"{folder}/")],
        "folders": sorted(str(path) for folder in hosts.NSPAWN for path in folder.glob(f"{prefix}*")),
        "hosts": sorted(f"{path.parent.name}/{path.name}" for path in folder.glob("hosts/*/*")),
        "volumes": sorted(f"{path.parent.name}/{path.stem}" for path in folder.glob("volumes/*/*.ext4")),
    }
    return {sort: items for sort, items in found.items() if items}


def keepers(folder: Path) -> list[int]:
    """Process ids of the keepers of hosts that live in a lab folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(word.endswith("/scripts/keeper.sh") for word in words) and any(
            word.startswith(f"{folder}/hosts/") for word in words
        ):
            found.append(int(process.name))
    return found


async def sweep(env: str, *, with_volumes: bool = False) -> None:
    """Remove all of it and nothing else; the volumes only if told so, for they hold data."""
    folder, prefix = names.lab_directory(env), names.prefix(env)
    guests = sorted({path.name for path in cgroups.found(prefix)})
    await asyncio.gather(*(cgroups.kill(guest) for guest in guests))
    for path in sorted(links.NETNS.glob(f"{prefix}*")):
        if not path.name.endswith("OUTSIDE"):
            await links.remove_netns(path.name)
    await outside.remove(env)
    for mount in reversed((await leftovers(env)).get("mounts", [])):
        await run("umount", mount, check=False)
    for device in (await leftovers(env)).get("loops", []):
        await run("losetup", "--detach", device, check=False)
    for name in {path.name for folder in hosts.NSPAWN for path in folder.glob(f"{prefix}*")}:
        hosts.forget(name)
    for name in ("hosts", "routers"):
        await run("rm", "-rf", "--one-file-system", "--", folder / name)
    if with_volumes:
        for image in folder.glob("volumes/*/*.ext4"):
            await volumes.remove(env, image.parent.name, image.stem, disposable=True)
        await run("rm", "-rf", "--one-file-system", "--", folder)
