# SPDX-License-Identifier: Apache-2.0
"""Hosts of the lab: systemd-nspawn guests on overlayfs, each with its own network namespace, cgroup and mount namespace.

A host's folder holds its upper layer (all that is its own), `host.json` (what it was made of) and its console.
The keeper (scripts/keeper.sh) is its parent process; the kernel drops its mounts and loop devices with the last process.
"""

import asyncio
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from jinku import lab_network

from . import cgroups, identity, images, links, names, volumes
from .process import LabError, run

KEEPER = Path(__file__).parent / "scripts" / "keeper.sh"
NSPAWN = (Path("/run/systemd/nspawn/propagate"), Path("/run/systemd/nspawn/unix-export"))
BOOT_SECONDS = 180.0
STOP_SECONDS = 30.0  # rsyslog may want some when its peer is silent; what it has not sent stays in the journal
State = Literal["absent", "stopped", "disconnected", "running"]


@dataclass(frozen=True)
class Mount:
    """A volume of the host's site and where the host sees it."""

    name: str
    mount: str


@dataclass(frozen=True)
class Host:
    """All a host is told. Addresses carry the length of their network; address6 and gateway6 may be "".

    image: path of the image. automation_key: public key. mirror: address of an apt proxy, "" for none.
    """

    env: str
    site: str
    name: str
    fqdn: str
    zone: str
    image: str
    address: str
    gateway: str
    automation_key: str
    address6: str = ""
    gateway6: str = ""
    interface: str = "eth0"
    volumes: tuple[Mount, ...] = ()
    mirror: str = ""

    @property
    def id(self) -> str:
        """Its namespace, cgroup and machine name."""
        return names.host(self.env, self.site, self.name)

    @property
    def folder(self) -> Path:
        """Where it lives on the controller's disk."""
        return names.lab_directory(self.env) / "hosts" / self.site / self.name

    @property
    def port(self) -> links.Port:
        """Its cable into the zone's bridge."""
        bridge = lab_network.interface(self.zone)
        return links.Port(
            names.switch(self.env, self.site), bridge, lab_network.interface(f"h.{self.name}"), self.id, self.interface
        )


@dataclass(frozen=True)
class Seen:
    """What is really there: state, and what a host that exists was made of."""

    state: State
    ssh_host_key: str = ""
    image: str = ""


async def create(host: Host) -> Seen:
    """Make and boot a host. What a failed attempt left is removed first; a volume's content stays.

    One that is there, runs and was made of the very same is kept: Pulumi was killed before it could note it down.
    Raises LabError, and leaves nothing, if an image or a volume is missing or the host does not come up.
    """
    if known(host.env, host.name) == host and (seen := await inspect(host)).state == "running":
        return seen
    if host.folder.exists() or links.alive(host.id) or cgroups.groups(host.id):
        await remove(host)
    layers = images.layers(Path(host.image))
    for volume in host.volumes:
        if volumes.size_gib(host.env, host.site, volume.name) is None:
            raise LabError(f"volumes: {volume.name}: not at site {host.site}; its Volume must be made first")
    try:
        for part in ("upper", "work", "merged", "volumes"):
            (host.folder / part).mkdir(parents=True)
        host.folder.chmod(0o700)
        (host.folder / "upper").chmod(0o755)
        await identity.write(host.folder / "upper", layers, host, secrets.token_hex(16))
        write_boot(host, layers)
        (host.folder / "host.json").write_text(json.dumps(asdict(host), indent=1) + "\n")
        await start(host)
    except BaseException:
        await remove(host)
        raise
    return Seen("running", identity.public_key(host.folder / "upper"), host.image)


def write_boot(host: Host, layers: Sequence[Path]) -> None:
    """Write what the keeper reads."""
    mounts = "\n".join(
        f"{volumes.image_file(host.env, host.site, volume.name)} {volume.mount}" for volume in host.volumes
    )
    told = {
        "NAME": host.id,
        "HOSTNAME": host.name,
        "NETNS": host.id,
        "LOWER": ":".join(str(layer) for layer in layers),
        "HIERARCHIES": " ".join(str(root) for root in cgroups.hierarchies()),
        "VOLUMES": mounts,
    }
    (host.folder / "boot.env").write_text("".join(f"{key}={shlex.quote(value)}\n" for key, value in told.items()))


async def start(host: Host) -> None:
    """Connect and boot a host that exists, unless it runs. Returns when its systemd says that it is up.

    Raises LabError with the end of its console if it dies or takes more than three minutes.
    """
    if not images.present(Path(host.image)):
        raise LabError(f"{host.name}: its image {host.image} is gone; `jinku up` makes it again")
    await links.ensure_netns(host.id)
    await links.ensure_port(host.port)
    if cgroups.populated(host.id, "guest"):
        return
    await cgroups.kill(host.id)  # what is left of a guest that was killed
    waiting = Path(tempfile.mkdtemp(prefix="jinku-", dir="/run"))  # short: a socket's path has 107 bytes
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        ready.bind(str(waiting / "ready"))
        ready.setblocking(False)
        with (host.folder / "console.log").open("wb") as console:
            keeper = await asyncio.create_subprocess_exec(
                "unshare", "--mount", "--propagation", "private", "sh", "-eu", str(KEEPER), str(host.folder),
                stdin=asyncio.subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True, cwd="/",
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "NOTIFY_SOCKET": str(waiting / "ready")},
            )  # fmt: skip
        await asyncio.wait_for(until_ready(ready, keeper), BOOT_SECONDS)
    except TimeoutError:
        raise LabError(f"{host.name}: not up after {BOOT_SECONDS:.0f} s: {console_end(host)}") from None
    finally:
        ready.close()
        shutil.rmtree(waiting)
    if not cgroups.populated(host.id, "guest"):
        raise LabError(f"{host.name}: died while booting: {console_end(host)}")


async def until_ready(ready: socket.socket, keeper: asyncio.subprocess.Process) -> None:
    """Return when READY=1 comes through the socket, or when the keeper ends."""
    ended, told = asyncio.create_task(keeper.wait()), asyncio.create_task(until_told(ready))
    try:
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended.cancel()
        told.cancel()
        # Until both have let go: a descriptor that is closed while the loop still watches its number is soon another's.
        await asyncio.gather(ended, told, return_exceptions=True)


async def until_told(ready: socket.socket) -> None:
    """Return when a datagram with the line READY=1 comes through the socket."""
    while b"READY=1" not in (await asyncio.get_running_loop().sock_recv(ready, 4096)).split(b"\n"):
        pass


def console_end(host: Host) -> str:
    """The last lines of the console."""
    try:
        text = (host.folder / "console.log").read_text(errors="replace")
    except OSError:
        return "it left no console"
    return "\n".join(text.strip().splitlines()[-10:])


async def stop(host: Host, *, seconds: float = STOP_SECONDS) -> None:
    """Power a host off; after `seconds` it is killed. Its files stay."""
    for pid in cgroups.pids(host.id, "guest/supervisor") if seconds else []:
        try:
            os.kill(pid, signal.SIGTERM)  # to nspawn: an orderly power-off
        except ProcessLookupError:
            continue
    for _ in range(int(seconds * 10)):
        if not cgroups.populated(host.id):
            break
        await asyncio.sleep(0.1)
    await cgroups.kill(host.id)


async def inspect(host: Host) -> Seen:
    """What is there of a host; `disconnected`: it runs, but its cable is gone."""
    try:
        told = json.loads((host.folder / "host.json").read_text())
    except (OSError, ValueError):
        return Seen("absent")
    if not (host.folder / "upper").is_dir():
        return Seen("absent")
    key = identity.public_key(host.folder / "upper")
    if not cgroups.populated(host.id, "guest"):
        return Seen("stopped", key, told["image"])
    return Seen("running" if await links.connected(host.port) else "disconnected", key, told["image"])


async def update(host: Host) -> Seen:
    """Apply what may change in place (key, mirror, volumes), and start the host again if it does not run."""
    recorded = load(host.env, host.name)
    if recorded != host:
        await stop(host)  # a layer that is mounted must not be written to from outside
        layers = images.layers(Path(host.image))
        await identity.write_access(host.folder / "upper", layers, host)
        write_boot(host, layers)
        (host.folder / "host.json").write_text(json.dumps(asdict(host), indent=1) + "\n")
    await start(host)
    return await inspect(host)


async def remove(host: Host) -> None:
    """Stop a host and remove all it has but its volumes. A host with volumes is powered off in order."""
    if cgroups.groups(host.id):
        await stop(host, seconds=STOP_SECONDS if host.volumes else 0)
    await links.remove_port(host.port)
    await links.remove_netns(host.id)
    forget(host.id)
    if host.folder.exists():
        await run("rm", "-rf", "--one-file-system", "--", host.folder)


def forget(machine: str) -> None:
    """Remove the empty folders that a killed nspawn leaves in /run; version 257 made one more."""
    for folder in NSPAWN:
        shutil.rmtree(folder / machine, ignore_errors=True)


def all_of(env: str) -> list[Host]:
    """Every host of an environment that was made, from the records on disk."""
    records = sorted((names.lab_directory(env) / "hosts").glob("*/*/host.json"))
    return [from_record(json.loads(path.read_text())) for path in records]


def from_record(told: dict[str, Any]) -> Host:
    """A host from its host.json."""
    return Host(**{**told, "volumes": tuple(Mount(**mount) for mount in told["volumes"])})


def known(env: str, name: str) -> Host | None:
    """The record of one host, None if there is none."""
    return next((host for host in all_of(env) if host.name == name), None)


def load(env: str, name: str) -> Host:
    """The record of one host. Raises LabError if there is none of that name."""
    host = known(env, name)
    if host is None:
        raise LabError(f"{name}: no host of environment {env} in the lab; `jinku nodes` lists them")
    return host


async def stop_node(env: str, name: str) -> None:
    """Power one node off, in order."""
    await stop(load(env, name))


async def start_node(env: str, name: str) -> None:
    """Power one node on again."""
    await start(load(env, name))
