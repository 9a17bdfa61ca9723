# SPDX-License-Identifier: Apache-2.0
"""Namespaces, bridges and veth pairs: the cables of the lab. Idempotent, so a half-made network is mended by doing it again."""

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinku import lab_network

from .process import LabError, in_netns, ip, run

NETNS = Path("/run/netns")
#: Says that the folder's mount upon itself is ours to take away.
OWN_MOUNT = Path("/run/jinku-netns")


@dataclass(frozen=True)
class Port:
    """One veth pair: `far` (its name in the namespace `netns`; None: the controller's own) plugged into `bridge` of `switch`."""

    switch: str
    bridge: str
    near: str
    netns: str | None
    far: str

    @property
    def hardware_address(self) -> str:
        """A locally administered address that is always the same: a replaced host must not hide behind its neighbours' caches."""
        digest = hashlib.sha256(f"{self.switch}/{self.near}".encode()).hexdigest()
        return ":".join(["02", *(digest[index : index + 2] for index in range(0, 10, 2))])


async def ensure_netns(name: str, sysctl: Sequence[str] = ()) -> None:
    """Make a network namespace with `lo` up, and set kernel parameters (`key=value`) in it."""
    if not alive(name):
        _place(name)
        await run("unshare", f"--net={NETNS / name}", "true")
    await ip(name, ["link set lo up"])
    if sysctl:
        await in_netns(name, "sysctl", "--quiet", "--write", *sysctl)


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """The providers of several sites take turns at the folder of namespaces. Nothing inside waits for the event loop."""
    descriptor = os.open("/run", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _place(name: str) -> None:
    """Make the empty file that becomes a namespace.

    Its folder is first mounted upon itself, as `ip netns add` does: done later, by somebody else, that would cover our mounts,
    and none of them could be removed.
    """
    with _turn():
        NETNS.mkdir(exist_ok=True)
        if not mounted() and not any(NETNS.iterdir()):  # else it would cover what is there
            for words in (("--bind", str(NETNS), str(NETNS)), ("--make-shared", str(NETNS))):
                subprocess.run(["mount", *words], check=True)
            OWN_MOUNT.touch()
        (NETNS / name).unlink(missing_ok=True)
        (NETNS / name).touch(0o444)


def _tidy() -> None:
    """Take the folder and its mount away after the last namespace, if the mount is ours."""
    with _turn():
        if OWN_MOUNT.exists() and not any(NETNS.iterdir()):
            subprocess.run(["umount", str(NETNS)], check=True)
            OWN_MOUNT.unlink()
        if not mounted():
            with contextlib.suppress(OSError):
                NETNS.rmdir()  # only when it is empty


def mounted() -> bool:
    """True if the folder is a mount point; of a mount upon itself `ismount` knows nothing."""
    return any(line.split()[4] == str(NETNS) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def alive(name: str) -> bool:
    """True if the namespace is there, and not only the empty file that a restart of the machine leaves."""
    try:
        return (NETNS / name).stat().st_dev != NETNS.stat().st_dev  # a namespace is a mount of its own
    except FileNotFoundError:
        return False


async def remove_netns(name: str) -> None:
    """Remove a namespace and with it everything in it, if it is there."""
    if alive(name):
        await run("ip", "netns", "del", name)
    else:
        (NETNS / name).unlink(missing_ok=True)
    _tidy()


async def links(netns: str | None) -> dict[str, dict[str, object]]:
    """Interfaces of a namespace by name, as `ip -details -json link` tells them; empty if there is no such namespace."""
    if netns is not None and not alive(netns):
        return {}
    where = ["-n", netns] if netns else []
    told = await run("ip", *where, "-details", "-json", "link", "show")
    return {link["ifname"]: link for link in json.loads(told or "[]")}


async def ensure_bridge(netns: str, bridge: str) -> None:
    """Make a bridge, and plug the ports in again that were its own (their alias says so) when it was removed by hand."""
    await ensure_netns(netns, ["net.ipv6.conf.default.disable_ipv6=1", "net.ipv6.conf.all.disable_ipv6=1"])
    # Where the module is loaded, a packet filter would see frames within a zone; it is a setting of this namespace alone.
    bridge_filter = "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -w $f ] || echo 0 > $f; done"
    await in_netns(netns, "sh", "-c", bridge_filter)
    present = await links(netns)
    lines = [] if bridge in present else [f"link add name {bridge} type bridge forward_delay 0 stp_state 0"]
    lines.append(f"link set dev {bridge} up")
    lines += [
        f"link set dev {name} master {bridge} up"
        for name, link in present.items()
        if link.get("ifalias") == f"port of {bridge}"
    ]
    await ip(netns, lines)


async def remove_bridge(netns: str, bridge: str) -> None:
    """Remove a bridge, and its namespace after the last bridge."""
    present = await links(netns)
    if bridge in present:
        await ip(netns, [f"link del dev {bridge}"])
    others = [name for name, link in present.items() if kind(link) == "bridge" and name != bridge]
    if not others:
        await remove_netns(netns)


def kind(link: dict[str, object]) -> str:
    """`bridge`, `veth`, ... of an interface as `links` tells it."""
    info = link.get("linkinfo")
    return str(info.get("info_kind", "")) if isinstance(info, dict) else ""


async def ensure_port(port: Port) -> None:
    """Make a veth pair and plug it in. Raises LabError if the bridge is missing."""
    near, far = await links(port.switch), await links(port.netns)
    if port.bridge not in near:
        raise LabError(f"bridge {port.bridge}: not in {port.switch}; the Network of that zone must be made first")
    lines = []
    if port.near not in near or port.far not in far:
        if port.far in far:
            await ip(port.netns, [f"link del dev {port.far}"])
        if port.near in near:
            lines.append(f"link del dev {port.near}")
        end = f"address {port.hardware_address} netns {port.netns or 1}"
        lines.append(f"link add name {port.near} type veth peer name {port.far} {end}")
    plug = f'link set dev {port.near} alias "port of {port.bridge}" master {port.bridge} up'
    await ip(port.switch, [*lines, plug])
    await ip(port.netns, [f"link set dev {port.far} up"])


async def remove_port(port: Port) -> None:
    """Remove a veth pair, if it is there."""
    await _remove_link(port.switch, port.near)
    if port.netns is None:
        await _remove_link(None, port.far)


async def _remove_link(netns: str | None, name: str) -> None:
    """Remove an interface; the kernel may take one of a namespace that just went at the very moment."""
    if name in await links(netns):
        try:
            await ip(netns, [f"link del dev {name}"])
        except LabError:
            if name in await links(netns):
                raise


async def connected(port: Port) -> bool:
    """True if both ends are there and the near one is in its bridge."""
    near = (await links(port.switch)).get(port.near)
    return near is not None and near.get("master") == port.bridge and port.far in await links(port.netns)


async def refuse_taken(wanted: Sequence[str], own: str) -> None:
    """Raise LabError if a network of the lab is in use on this machine for something else."""
    routes = [
        route for family in ("-4", "-6") for route in json.loads(await run("ip", family, "-json", "route") or "[]")
    ]
    clashes = lab_network.taken(wanted, routes, own)
    if clashes:
        told = "; ".join(f"{network}: this machine reaches {route} by {device}" for network, route, device in clashes)
        raise LabError(f"environment.yaml: sites, lab: {told}; networks that nothing else uses here would be right")
