# SPDX-License-Identifier: Apache-2.0
"""Bare Debian hosts as somebody else's data centre has them: made without Jinku's backend, by plain tools.

An image of Debian's priority `important` with sshd as the distribution ships it, one nspawn guest a host on bridges and one
router of its own, the interface `ens3`, a user `deploy` with a key and sudo, a package proxy and a time server on the
controller. By hand: `python tests/existing/bare_hosts.py up ENVIRONMENT` and `... down ENVIRONMENT`. Root only.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import own_kernel
from machines import (
    CLOCK,
    FOLDER,
    INTERFACE,
    KEEPER,
    LOOK_SECONDS,
    OWNER,
    ROUTER,
    SWITCH,
    WAN,
    WAN6,
    Bare,
    do,
    environ,
    file_system,
    first,
    hierarchies,
    image,
    kill,
    listens,
    namespace,
    network_of,
    own_files,
    pids,
    until,
)

from jinku.model import Node, Topology, load_environment
from jinku.places import CHECKOUT
from stacks.provider.lab.sources import controller_sources

_DISK_GIB, _MEMORY_MIB = 40, 1024
#: The host that is a machine with a kernel of its own, for `existing_vm`: the witness and the copies, on two empty disks.
MACHINE = "aud2"
__all__ = ["INTERFACE", "MACHINE", "OWNER", "SWITCH", "DataCentre", "image"]


class DataCentre:
    """All hosts of an environment, their network, mirror and clock. ``device_volumes``: volumes handed over as empty disks.

    ``machines``: hosts that are machines with a kernel of their own (QEMU), all of whose volumes are empty disks; the others are guests.
    """

    def __init__(self, topology: Topology, device_volumes: Sequence[str] = (), machines: Sequence[str] = ()) -> None:
        self.topology, self._device_volumes, self.machines = topology, device_volumes, machines
        self.controller = str(topology.env.outside.mirror[0])
        self.key = FOLDER / "deploy"
        self.hosts = {node.name: self._bare(node) for node in topology.nodes}

    def _bare(self, node: Node) -> Bare:
        zone = self.topology.zones[node.site, node.zone]
        pairs = [(str(zone.gateway), zone.network.prefixlen)]
        if zone.network6 and node.address6:
            pairs.append((str(zone.gateway6), zone.network6.prefixlen))
        return Bare(node, tuple(gateway for gateway, _ in pairs), tuple(prefix for _, prefix in pairs))

    # -- the whole

    def up(self) -> None:
        """Make everything, from nothing."""
        self.down()
        FOLDER.mkdir(parents=True)
        do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", OWNER, "-f", self.key)
        lower = image()
        self._network()
        self._services()
        for host in self.hosts.values():
            self.make(host.node.name, lower)
        for host in self.hosts.values():
            self.wait(host.node.name)

    def down(self) -> None:
        """Remove everything, also what a crash left."""
        for name in [path.name for path in hierarchies()[-1].glob("bare-*")]:
            kill(name)
        for file in (FOLDER / "pids").glob("*"):
            pid = int(file.read_text())
            if FOLDER.name.encode() in environ(pid):
                os.kill(pid, signal.SIGTERM)
        do("ip", "link", "del", WAN, check=False)
        for path in Path("/run/netns").glob("bare-*"):
            do("ip", "netns", "del", path.name, check=False)
        with contextlib.suppress(OSError):
            Path("/run/netns").rmdir()  # only when it is empty
        for line in do("losetup", "--noheadings", "--output", "NAME,BACK-FILE", check=False).splitlines():
            if str(FOLDER) in line:
                do("losetup", "--detach", line.split()[0], check=False)
        for path in FOLDER.glob("*/disk"):
            do("umount", path, check=False)
        if FOLDER.exists():
            do("rm", "-rf", "--one-file-system", "--", FOLDER)

    # -- the network: plain bridges and one router, all of it open until `guard` closes it

    def _network(self) -> None:
        for name in (SWITCH, ROUTER):
            namespace(name)
        do("nsenter", f"--net=/run/netns/{ROUTER}", "sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
           "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")  # fmt: skip
        do("ip", "-n", ROUTER, "link", "set", "lo", "up")
        do("ip", "-n", ROUTER, "link", "add", "wan", "type", "bridge", "forward_delay", "0")
        do("ip", "link", "add", WAN, "type", "veth", "peer", "name", "w.controller", "netns", ROUTER)
        do("ip", "-n", ROUTER, "link", "set", "w.controller", "master", "wan", "up")
        outside = network_of(self.controller)
        do("ip", "addr", "add", f"{self.controller}/24", "dev", WAN)
        do("ip", "addr", "add", f"{WAN6}:1/64", "dev", WAN, "nodad")
        do("ip", "link", "set", WAN, "up")
        do("ip", "-n", ROUTER, "addr", "add", f"{outside}.254/24", "dev", "wan")
        do("ip", "-n", ROUTER, "addr", "add", f"{WAN6}:fe/64", "dev", "wan", "nodad")
        do("ip", "-n", ROUTER, "link", "set", "wan", "up")
        for (site, zone), networks in self.topology.zones.items():
            bridge, leg = f"{site}-{zone}", f"r.{site}-{zone}"
            do("ip", "-n", SWITCH, "link", "add", bridge, "type", "bridge", "forward_delay", "0")
            do("ip", "-n", SWITCH, "link", "set", bridge, "up")
            do("ip", "-n", SWITCH, "link", "add", leg, "type", "veth", "peer", "name", bridge, "netns", ROUTER)
            do("ip", "-n", SWITCH, "link", "set", leg, "master", bridge, "up")
            do("ip", "-n", ROUTER, "addr", "add", f"{networks.gateway}/{networks.network.prefixlen}", "dev", bridge)
            if networks.network6:
                do("ip", "-n", ROUTER, "addr", "add", f"{networks.gateway6}/64", "dev", bridge, "nodad")
            do("ip", "-n", ROUTER, "link", "set", bridge, "up")
            do("ip", "route", "replace", networks.network, "via", f"{outside}.254")
            if networks.network6:
                do("ip", "route", "replace", networks.network6, "via", f"{WAN6}:fe")

    def place_probes(self) -> dict[str, object]:
        """A machine without a packet filter in each zone and one outside, as a network team places them; what probes.yaml says."""
        other = {"dmz": "app"}
        placed = {}
        for site, zone in dict.fromkeys((node.site, node.zone) for node in self.topology.nodes):
            here, there = self.topology.zones[site, zone], self.topology.zones[site, other.get(zone, "dmz")]
            address, foreign = here.network[-2], there.network[-2]
            address6 = here.network6[0xFFFE] if here.network6 else None
            lines = [
                f"addr add {address}/{here.network.prefixlen} dev {INTERFACE}",
                f"addr add {foreign}/32 dev {INTERFACE}",
            ]
            lines += [f"route add default via {here.gateway}"]
            if address6:
                lines += [f"addr add {address6}/64 dev {INTERFACE} nodad", f"route add default via {here.gateway6}"]
            placed[f"{site}-{zone}"] = self._probe(f"{site}-{zone}", SWITCH, f"{site}-{zone}", lines)
            placed[f"{site}-{zone}"] |= {"address": str(address), "foreign": str(foreign)}
            placed[f"{site}-{zone}"] |= {"address6": str(address6)} if address6 else {}
        outside = network_of(self.controller)
        lines = [f"addr add {outside}.66/24 dev {INTERFACE}", f"addr add {WAN6}:66/64 dev {INTERFACE} nodad"]
        lines += [f"route add default via {outside}.254", f"route add default via {WAN6}:fe"]
        found = self._probe("outside", ROUTER, "wan", lines)
        placed["outside"] = {**found, "address": f"{outside}.66", "address6": f"{WAN6}:66"}
        return {"schema_version": 1, "probes": placed}

    @staticmethod
    def _probe(key: str, switch: str, bridge: str, lines: list[str]) -> dict[str, object]:
        netns = f"bare-probe.{key}"
        namespace(netns)
        do("ip", "-n", switch, "link", "add", f"p.{key}", "type", "veth", "peer", "name", INTERFACE, "netns", netns)
        do("ip", "-n", switch, "link", "set", f"p.{key}", "master", bridge, "up")
        begin = ["link set lo up", f"link set {INTERFACE} up"]
        do("ip", "-n", netns, "-batch", "-", stdin="\n".join([*begin, *lines]) + "\n")
        return {"command": ["nsenter", f"--net=/run/netns/{netns}", "sh", "-c"]}

    def guard(self, ruleset: str) -> None:
        """Load a packet filter on the router, as a network team would."""
        do("nsenter", f"--net=/run/netns/{ROUTER}", "nft", "-f", "-", stdin=ruleset)

    def _services(self) -> None:
        """The owner's package proxy and time server, on the controller's address."""
        (FOLDER / "pids").mkdir()
        told = {**os.environ, "JINKU_MIRROR_HOSTS": ",".join(sorted(controller_sources().hosts())), "BARE": FOLDER.name}
        for name, words in {
            "mirror": ["-m", "proxy", "--hostname", self.controller, "--port", "3142", "--num-workers", "1",
                       "--num-acceptors", "1", "--log-level", "WARNING",
                       "--plugins", "stacks.provider.lab.mirror_filter.AllowedHosts"],
            "clock": ["-c", CLOCK, self.controller],
        }.items():  # fmt: skip
            with (FOLDER / f"{name}.log").open("wb") as log:
                started = subprocess.Popen(
                    [sys.executable, *words], env=told, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
            (FOLDER / "pids" / name).write_text(str(started.pid))
        until(lambda: listens(self.controller, 3142), "the package proxy")

    # -- one host

    def make(self, name: str, lower: Path, disk_gib: int = _DISK_GIB) -> None:
        """Lay out a host's own files over ``lower`` and switch it on."""
        host = self.hosts[name]
        if name in self.machines:
            self._make_machine(host)
            return
        for part in ("merged", "mounts", "disk"):
            (host.folder / part).mkdir(parents=True)
        file_system(host.folder / "disk.ext4", disk_gib)
        do("mount", "-o", "loop", host.folder / "disk.ext4", host.folder / "disk")
        upper = host.folder / "disk/upper"
        for part in ("upper", "work"):
            (host.folder / "disk" / part).mkdir()
        own_files(host, upper, self.key.with_suffix(".pub").read_text())
        volumes, devices = [], []
        for volume in host.node.volumes:
            file = host.folder / f"{volume.name}.ext4"
            if volume.name in self._device_volumes:
                file.touch()
                os.truncate(file, volume.size_gib * 2**30)
                devices.append(do("losetup", "--find", "--show", file).strip())
            else:
                file_system(file, volume.size_gib + 1)
                volumes.append(f"{file}:{volume.mount}")
        (host.folder / "devices").write_text(" ".join(devices))
        (host.folder / "boot.json").write_text(
            json.dumps({"LOWER": str(lower), "VOLUMES": " ".join(volumes), "DEVICES": " ".join(devices)})
        )
        if not Path("/run/netns", host.netns).exists():
            namespace(host.netns)
            port = f"h.{name}"
            do("ip", "-n", SWITCH, "link", "add", port, "type", "veth", "peer", "name", INTERFACE, "netns", host.netns)
            do("ip", "-n", SWITCH, "link", "set", port, "master", host.bridge, "up")
        self.start(name)

    def _make_machine(self, host: Bare) -> None:
        """The same, as a machine: its disks are files, its cable a tap on the bridge of its zone."""
        (host.folder / "own").mkdir(parents=True)
        own_files(host, host.folder / "own", self.key.with_suffix(".pub").read_text())
        (host.folder / "own/etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
        own_kernel.lay(host.folder / "root.raw", host.folder / "own", _DISK_GIB)
        for volume in host.node.volumes:
            self.raw(host.node.name, volume.name).touch()
            os.truncate(self.raw(host.node.name, volume.name), volume.size_gib * 2**30)
        tap = f"t.{host.node.name}"
        do("ip", "-n", SWITCH, "tuntap", "add", "dev", tap, "mode", "tap")
        do("ip", "-n", SWITCH, "link", "set", tap, "master", host.bridge, "up")
        self.start(host.node.name)

    def raw(self, name: str, disk: str) -> Path:
        """A disk of a machine as it lies on the controller; the system's is `root`."""
        return self.hosts[name].folder / f"{disk}.raw"

    def _start_machine(self, host: Bare) -> None:
        name = host.node.name
        disks = {disk: self.raw(name, disk) for disk in ("root", *(volume.name for volume in host.node.volumes))}
        # slot 3 of the first bus, which the kernel calls ens3
        card = ["-netdev", f"tap,id=net,ifname=t.{name},script=no,downscript=no"]
        card += ["-device", "virtio-net-pci,netdev=net,addr=0x3,romfile="]
        words = ["nsenter", f"--net=/run/netns/{SWITCH}", *own_kernel.start_words(disks, card, _MEMORY_MIB)]
        with (host.folder / "console.log").open("ab") as console:
            started = subprocess.Popen(
                words, env={**os.environ, "BARE": FOLDER.name}, cwd="/", stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                start_new_session=True,
            )  # fmt: skip
        (FOLDER / "pids" / name).write_text(str(started.pid))

    def start(self, name: str) -> None:
        """Switch a host on."""
        host = self.hosts[name]
        if name in self.machines:
            self._start_machine(host)
            return
        do("ip", "-n", host.netns, "addr", "flush", "dev", INTERFACE)  # its network outlives it, unlike a real one's
        told = {
            **json.loads((host.folder / "boot.json").read_text()),
            "NAME": host.netns,
            "HOSTNAME": name,
            "FOLDER": str(host.folder),
            "HIERARCHIES": " ".join(map(str, hierarchies())),
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
            "PATH": os.environ["PATH"],
        }
        with (host.folder / "console.log").open("ab") as console:
            subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-euc", KEEPER],
                env=told, cwd="/", stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            )  # fmt: skip

    def stop(self, name: str) -> None:
        """Cut a host's power."""
        if name in self.machines:
            pid = int((FOLDER / "pids" / name).read_text())
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            return
        kill(self.hosts[name].netns)

    def remove(self, name: str) -> None:
        """Take a host away, with its disk; its network stays."""
        host = self.hosts[name]
        self.stop(name)
        do("umount", host.folder / "disk", check=False)
        for device in (host.folder / "devices").read_text().split():
            do("losetup", "--detach", device, check=False)
        do("rm", "-rf", "--one-file-system", "--", host.folder)

    def wait(self, name: str) -> None:
        """Return when the host's sshd answers, asked from the router, which no filter of its own holds back."""
        probe = ["nsenter", f"--net=/run/netns/{ROUTER}", "bash", "-c", f"</dev/tcp/{self.hosts[name].node.address}/22"]
        seconds = own_kernel.BOOT_SECONDS if name in self.machines else LOOK_SECONDS
        until(lambda: subprocess.run(probe, capture_output=True, check=False).returncode == 0, name, seconds)

    def inside(self, name: str, command: str, check: bool = True) -> str:
        """Run a command on a guest as its owner does at the console: as root, by no network."""
        leader = next(
            pid
            for pid in pids(self.hosts[name].netns)
            if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd" and first(pid)
        )
        words = ["nsenter", "--target", leader, "--mount", "--pid", "--net", "--uts", "--ipc", "--root", "--wd"]
        return do(
            *words, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "sh", "-c", command, check=check
        )

    def host_key(self, name: str) -> str:
        """The host's public key as its owner reads it at the console."""
        own = self.hosts[name].folder / ("own" if name in self.machines else "disk/upper")
        text = (own / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
        return " ".join(text.split()[:2])


if __name__ == "__main__":
    world = DataCentre(Topology.of(load_environment(sys.argv[2])), sys.argv[3:])
    getattr(world, sys.argv[1])()
