# SPDX-License-Identifier: Apache-2.0
"""What this machine has and lacks for running an environment; each finding with its remedy. Looks, never changes."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from jinku import engine, lab_network
from jinku.model import Topology
from jinku.model.topology import PACKAGES
from jinku.places import Places

SCHEMA = "jinku/doctor/1"
NEEDED_GIB = 12
"""Free space for images, parts, the engine's build and the hosts of the profile small, GiB."""
NEEDED_STATE_GIB = 4
"""Free space for what the hosts write in their first days, GiB; volumes take space only as they are filled."""
NEEDED_MEMORY_GIB = 4
INOTIFY_A_HOST = 9
"""inotify instances of root that a host takes; without them its systemd ends at once with "Too many open files"."""


class Level(StrEnum):
    """ok: fine; note: works, but worth knowing; missing: `up` refuses to start."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``remedy`` is '' when nothing is to be done; ``host`` is '' for this machine."""

    what: str
    level: Level
    text: str
    remedy: str = ""
    host: str = ""

    @property
    def where(self) -> str:
        """What was looked at, with the host it is on."""
        return f"{self.host}: {self.what}" if self.host else self.what

    def as_json(self) -> dict[str, str]:
        """The finding as it stands in a document of the schema ``jinku/doctor/1``."""
        return asdict(self)


#: program -> Debian package, for every backend.
TOOLS = {"ssh": "openssh-client", "git": "git", "setpriv": "util-linux", "ansible-playbook": "", "gpg": "gnupg"}
LAB_TOOLS = {
    "systemd-nspawn": "systemd-container",
    "nft": "nftables",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "dpkg-deb": "dpkg",
    "mkfs.ext4": "e2fsprogs",
    "xz": "xz-utils",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}


def _tools(wanted: dict[str, str]) -> Iterator[Finding]:
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    for tool, package in wanted.items():
        found = shutil.which(tool, path=path)
        remedy = f"`apt-get install {package}`, or `tools/bootstrap.sh`" if package else "`tools/bootstrap.sh`"
        yield Finding(tool, Level.OK, found) if found else Finding(tool, Level.MISSING, "is not installed", remedy)


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding("root", Level.OK, "running as root")
    return Finding(
        "root",
        Level.MISSING,
        "not running as root; namespaces and mounts of the lab need it",
        "run as root, or with sudo",
    )


def _disk(folder: Path, needed_gib: float) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    if free >= needed_gib:
        return Finding(f"disk {folder}", Level.OK, f"{free:.0f} GiB free")
    remedy = f"free {needed_gib:.0f} GiB, or point JINKU_STATE_DIR and JINKU_CACHE_DIR to another disk"
    return Finding(f"disk {folder}", Level.MISSING, f"{free:.1f} GiB free, {needed_gib:.0f} are needed", remedy)


def _writable(folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if os.access(existing, os.W_OK):
        return Finding(f"folder {folder}", Level.OK, "writable")
    return Finding(
        f"folder {folder}",
        Level.MISSING,
        f"{existing} cannot be written",
        "another user, or JINKU_STATE_DIR and JINKU_CACHE_DIR",
    )


def _memory() -> Finding:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            gib = int(line.split()[1]) / 2**20
            if gib >= NEEDED_MEMORY_GIB:
                return Finding("memory", Level.OK, f"{gib:.0f} GiB available")
            return Finding(
                "memory", Level.NOTE, f"{gib:.1f} GiB available, {NEEDED_MEMORY_GIB} are wanted", "end other programs"
            )
    return Finding("memory", Level.NOTE, "unknown")


def _cgroups() -> Finding:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return Finding("cgroups", Level.OK, "v2")
    if (root / "systemd").is_dir() or (root / "unified").is_dir():
        return Finding("cgroups", Level.OK, "the older mixed layout")
    return Finding(
        "cgroups", Level.MISSING, "no cgroup file system is mounted", "`mount -t cgroup2 none /sys/fs/cgroup`"
    )


def _init() -> Finding:
    if Path("/run/systemd/system").is_dir():
        return Finding("init", Level.OK, "systemd")
    return Finding("init", Level.OK, "not systemd; the lab needs none, `machinectl` will not work")


def _kernel() -> Iterator[Finding]:
    filesystems = Path("/proc/filesystems").read_text().split()
    release = os.uname().release
    for name, module in (("overlay", "overlay"), ("ext4", "ext4")):
        loadable = any(Path("/lib/modules", release).rglob(f"{module}.ko*")) if name not in filesystems else True
        if loadable:
            yield Finding(f"kernel {name}", Level.OK, "there")
        else:
            yield Finding(
                f"kernel {name}",
                Level.MISSING,
                "the kernel has no such file system",
                f"`modprobe {module}`, or another kernel",
            )
    if Path("/dev/loop-control").exists():
        yield Finding("loop devices", Level.OK, "/dev/loop-control")
    else:
        yield Finding(
            "loop devices", Level.MISSING, "there is no /dev/loop-control, and volumes need it", "`modprobe loop`"
        )


def _inotify(hosts: int, *, ours: bool) -> Finding:
    """Root's inotify instances, of which each host's systemd and services take some; other labs take theirs."""
    what, limit = "inotify instances", int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    used = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if folder.stat().st_uid == 0:
                used += sum(str(path.readlink()) == "anon_inode:inotify" for path in (folder / "fd").iterdir())
    needed = 0 if ours else hosts * INOTIFY_A_HOST
    if used + needed <= limit:
        return Finding(what, Level.OK, f"{limit - used} of {limit} free")
    return Finding(
        what,
        Level.MISSING,
        f"{limit - used} of {limit} free, {needed} are needed",
        f"`sysctl fs.inotify.max_user_instances={limit + needed + 128}`, or `jinku destroy` of another lab",
    )


def _port(topology: Topology, *, ours: bool) -> Finding:
    """The mirror's address and port on the lab's outside network; taken is fine when our own lab has it."""
    address, port = str(topology.env.lab.wan[1]), PACKAGES.port
    what = f"port {address}:{port}"
    if ours:
        return Finding(what, Level.OK, "the lab's own")
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND: the address comes with the lab
            probe.bind((address, port))
        except OSError as error:
            return Finding(
                what,
                Level.MISSING,
                f"in use: {error.strerror}",
                "end what listens there (`ss -ltnp`), or other networks under lab: in environment.yaml",
            )
    return Finding(what, Level.OK, "free")


def _routes() -> list[dict[str, str]]:
    """Routes of this machine, both families; none where `ip` is not there, which is a lack of its own."""
    routes: list[dict[str, str]] = []
    with contextlib.suppress(FileNotFoundError):
        for family in ("-4", "-6"):
            command = ["ip", family, "-json", "route"]
            routes += json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout or "[]")
    return routes


def _networks(topology: Topology, *, ours: bool) -> Iterator[Finding]:
    """The networks by which this machine reaches the lab: another lab of the same ones, or a company's network, would be cut off."""
    lab, zones = topology.env.lab, topology.zones.values()
    networks = [lab.wan, lab.wan6, *(zone.network for zone in zones)]
    networks += [zone.network6 for zone in zones if zone.network6]
    own = (
        lab_network.controller_interface(topology.env.name) if ours else ""
    )  # one of this name with another state is not ours
    by_device: dict[str, list[str]] = {}
    for _, route, device in lab_network.taken(map(str, networks), _routes(), own):
        by_device.setdefault(device, []).append(route)
    for device, routes in by_device.items():
        more = f" and {len(routes) - 1} more" if len(routes) > 1 else ""
        whose = ", another lab's interface" if device.startswith("jk-") else ""
        yield Finding(
            "networks",
            Level.MISSING,
            f"this machine reaches {routes[0]}{more} by {device}{whose}",
            "other networks under sites: and lab: in environment.yaml, or `jinku destroy` of the other lab",
        )
    if not by_device:
        yield Finding("networks", Level.OK, "nothing else here uses those of sites and lab")


def _engine() -> Finding:
    found = engine.find()
    if found:
        return Finding("pulumi engine", Level.OK, str(found))
    return Finding(
        "pulumi engine",
        Level.NOTE,
        "not there yet",
        f"`jinku up` builds {engine.VERSION} once, about 6 minutes; or install an official Pulumi",
    )


def _caches(places: Places) -> Iterator[Finding]:
    images = places.cache / "images"
    count = sum(1 for path in images.glob("[!.]*") if path.is_dir()) if images.exists() else 0
    yield Finding(
        "images",
        Level.OK if count else Level.NOTE,
        f"{count} in {images}",
        "" if count else "`jinku up` makes them, a few minutes",
    )


def examine(topology: Topology, places: Places, *, starts: bool = True) -> list[Finding]:
    """Look at everything that a verb needs for this environment, in an order for reading.

    :param starts: it starts hosts, as `up` does, and so needs what only running hosts take of this machine.
    """
    lab = topology.env.backend == "lab"
    begun = places.lab.exists()  # an `up` that was interrupted has it, too: what it made is no obstacle
    running: list[Callable[[], Finding | Iterator[Finding]]] = [
        lambda: _inotify(len(topology.nodes), ours=begun),
        lambda: _port(topology, ours=begun),
        lambda: _networks(topology, ours=begun),
    ]
    machine: list[Callable[[], Finding | Iterator[Finding]]] = [_cgroups, _init, _kernel, *(running if starts else [])]
    looks: list[Callable[[], Finding | Iterator[Finding]]] = [
        lambda: _tools({**TOOLS, **(LAB_TOOLS if lab else {})}),
        *([_root] if lab else []),
        lambda: _writable(places.state),
        lambda: _writable(places.cache),
        lambda: _disk(places.cache, NEEDED_GIB if lab and not begun else 1),
        lambda: _disk(places.state, NEEDED_STATE_GIB if lab and not begun else 1),
        _memory,
        *(machine if lab else []),
        _engine,
        *([lambda: _caches(places)] if lab else []),
    ]
    found: list[Finding] = []
    for look in looks:
        seen = look()
        found += [seen] if isinstance(seen, Finding) else list(seen)
    return found
