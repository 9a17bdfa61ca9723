# SPDX-License-Identifier: Apache-2.0
"""Bare Debian hosts as somebody else's data centre has them: made without Jinku's backend, by plain tools.

An image of Debian's priority `important` with sshd as the distribution ships it, one nspawn guest a host on bridges and one
router of its own, the interface `ens3`, a user `deploy` with a key and sudo, a package proxy and a time server on the
controller. By hand: `python tests/existing/bare_hosts.py up ENVIRONMENT` and `... down`. Root only.
"""

import hashlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinku.model import Node, Topology, load_environment
from jinku.places import CHECKOUT, cache_root
from stacks.provider.lab.sources import controller_sources

INTERFACE = "ens3"
OWNER = "deploy"
WAN6 = "fd84:ff77:"
SWITCH, ROUTER, WAN = "bare-switch", "bare-router", "bare-wan"
FOLDER = Path(os.environ.get("JINKU_BARE_DIR", "/var/tmp/jinku-bare"))
GROUPS = Path("/sys/fs/cgroup")
INCLUDE = "systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,python3,ca-certificates"
_LOOK_SECONDS = 120.0

KEEPER = """
for root in $HIERARCHIES; do
  if [ -d "$root/$NAME" ]; then find "$root/$NAME" -depth -type d -exec rmdir {} + || :; fi
  mkdir -p "$root/$NAME/guest" "$root/$NAME/keeper"; echo $$ > "$root/$NAME/keeper/cgroup.procs"
done
mount -t overlay "$NAME" -o "lowerdir=$LOWER,upperdir=$FOLDER/disk/upper,workdir=$FOLDER/disk/work" "$FOLDER/merged"
set --
for volume in $VOLUMES; do
  file=${volume%%:*} mount=${volume#*:}
  mkdir -p "$FOLDER/mounts$mount" "$FOLDER/merged$mount"
  mount -o loop "$file" "$FOLDER/mounts$mount"
  set -- "$@" "--bind=$FOLDER/mounts$mount:$mount"
done
for device in $DEVICES; do set -- "$@" "--bind=$device:/dev/vdb"; done
HIERARCHIES=$HIERARCHIES sh -euc '
  name=$1; shift
  for root in $HIERARCHIES; do echo $$ > "$root/$name/guest/cgroup.procs"; done
  exec systemd-nspawn "$@"
' sh "$NAME" --quiet --boot --directory="$FOLDER/merged" --machine="$NAME" --network-namespace-path="/run/netns/$NAME" \\
  --capability=CAP_NET_ADMIN --register=no --keep-unit --console=read-only --resolv-conf=off --timezone=off \\
  --link-journal=no --hostname="$HOSTNAME" "$@"
"""

CLOCK = """
import socket, struct, sys, time
server = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 123))
while True:
    asked, who = server.recvfrom(512)
    now = time.time() + 2208988800
    stamp = struct.pack("!II", int(now), int(now % 1 * 2**32))
    if len(asked) >= 48:
        server.sendto(struct.pack("!BBbb11I", 0x24, 2, 6, -20, 0, 0, 0, *struct.unpack("!II", stamp),
                                  *struct.unpack("!II", asked[40:48]), *struct.unpack("!II", stamp),
                                  *struct.unpack("!II", stamp)), who)
"""


def do(*words: object, stdin: str | None = None, check: bool = True) -> str:
    """Run a program and return what it printed. Raises RuntimeError with its error text."""
    done = subprocess.run([str(word) for word in words], input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{shlex.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


def hierarchies() -> list[Path]:
    """Where a guest needs a control group, the one of version 2 last."""
    if (GROUPS / "cgroup.controllers").exists():
        return [GROUPS]
    return [GROUPS / "systemd", GROUPS / "unified"]


def image(suite: str = "trixie", architecture: str = "") -> Path:
    """Folder with a Debian as mmdebstrap leaves it plus what an installer asks for; made once and cached."""
    told = f"2 {suite} {architecture} {INCLUDE}"
    folder = cache_root() / "bare" / hashlib.sha256(told.encode()).hexdigest()[:16]
    if folder.exists():
        return folder
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    draft.parent.mkdir(parents=True, exist_ok=True)
    # An image that is only there to be refused needs no updates, and their lists may be in the making for an old architecture.
    lines = "\n".join(controller_sources().lines(suite)[: 1 if architecture else None]) + "\n"
    # i386 runs on an amd64 kernel: nothing needs to be emulated
    words = [f"--architectures={architecture}", "--skip=check/qemu"] if architecture else []
    do("mmdebstrap", "--quiet", "--variant=important", f"--include={INCLUDE}", *words, suite, draft, "-", stdin=lines)
    (draft / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    for path in [draft / "etc/machine-id", *(draft / "etc/ssh").glob("ssh_host_*")]:
        path.unlink(missing_ok=True)
    do("chroot", draft, "useradd", "--create-home", "--shell", "/bin/bash", OWNER)
    draft.rename(folder)
    return folder


@dataclass(frozen=True)
class Bare:
    """One host: what its owner gave it."""

    node: Node
    gateways: tuple[str, ...]
    prefixes: tuple[int, ...]

    @property
    def netns(self) -> str:
        """Its network namespace, control group and machine."""
        return f"bare-{self.node.name}"

    @property
    def folder(self) -> Path:
        """Its files."""
        return FOLDER / self.node.name

    @property
    def bridge(self) -> str:
        """The bridge of its zone."""
        return f"{self.node.site}-{self.node.zone}"


class DataCentre:
    """All hosts of an environment, their network, mirror and clock. ``device_volumes``: volumes handed over as empty disks."""

    def __init__(self, topology: Topology, device_volumes: Sequence[str] = ()) -> None:
        self.topology, self._device_volumes = topology, device_volumes
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
            _kill(name)
        for file in (FOLDER / "pids").glob("*"):
            pid = int(file.read_text())
            if FOLDER.name.encode() in _environ(pid):
                os.kill(pid, signal.SIGTERM)
        do("ip", "link", "del", WAN, check=False)
        for path in Path("/run/netns").glob("bare-*"):
            do("ip", "netns", "del", path.name, check=False)
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
            do("ip", "netns", "add", name)
        do("ip", "netns", "exec", ROUTER, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
           "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")  # fmt: skip
        do("ip", "-n", ROUTER, "link", "set", "lo", "up")
        do("ip", "-n", ROUTER, "link", "add", "wan", "type", "bridge", "forward_delay", "0")
        do("ip", "link", "add", WAN, "type", "veth", "peer", "name", "w.controller", "netns", ROUTER)
        do("ip", "-n", ROUTER, "link", "set", "w.controller", "master", "wan", "up")
        outside = _network_of(self.controller)
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
        outside = _network_of(self.controller)
        lines = [f"addr add {outside}.66/24 dev {INTERFACE}", f"addr add {WAN6}:66/64 dev {INTERFACE} nodad"]
        lines += [f"route add default via {outside}.254", f"route add default via {WAN6}:fe"]
        found = self._probe("outside", ROUTER, "wan", lines)
        placed["outside"] = {**found, "address": f"{outside}.66", "address6": f"{WAN6}:66"}
        return {"schema_version": 1, "probes": placed}

    @staticmethod
    def _probe(key: str, switch: str, bridge: str, lines: list[str]) -> dict[str, object]:
        netns = f"bare-probe.{key}"
        do("ip", "netns", "add", netns)
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
        _until(lambda: _open(self.controller, 3142), "the package proxy")

    # -- one host

    def make(self, name: str, lower: Path, disk_gib: int = 40) -> None:
        """Lay out a host's own files over ``lower`` and switch it on."""
        host = self.hosts[name]
        for part in ("merged", "mounts", "disk"):
            (host.folder / part).mkdir(parents=True)
        _file_system(host.folder / "disk.ext4", disk_gib)
        do("mount", "-o", "loop", host.folder / "disk.ext4", host.folder / "disk")
        upper = host.folder / "disk/upper"
        for part in ("upper", "work"):
            (host.folder / "disk" / part).mkdir()
        _own_files(host, upper, self.key.with_suffix(".pub").read_text())
        volumes, devices = [], []
        for volume in host.node.volumes:
            file = host.folder / f"{volume.name}.ext4"
            if volume.name in self._device_volumes:
                file.touch()
                os.truncate(file, volume.size_gib * 2**30)
                devices.append(do("losetup", "--find", "--show", file).strip())
            else:
                _file_system(file, volume.size_gib + 1)
                volumes.append(f"{file}:{volume.mount}")
        (host.folder / "devices").write_text(" ".join(devices))
        (host.folder / "boot.json").write_text(
            json.dumps({"LOWER": str(lower), "VOLUMES": " ".join(volumes), "DEVICES": " ".join(devices)})
        )
        if not Path("/run/netns", host.netns).exists():
            do("ip", "netns", "add", host.netns)
            port = f"h.{name}"
            do("ip", "-n", SWITCH, "link", "add", port, "type", "veth", "peer", "name", INTERFACE, "netns", host.netns)
            do("ip", "-n", SWITCH, "link", "set", port, "master", host.bridge, "up")
        self.start(name)

    def start(self, name: str) -> None:
        """Switch a host on."""
        host = self.hosts[name]
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
        _kill(self.hosts[name].netns)

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
        _until(lambda: subprocess.run(probe, capture_output=True, check=False).returncode == 0, name)

    def inside(self, name: str, command: str, check: bool = True) -> str:
        """Run a command on a host as its owner does at the console: as root, by no network."""
        leader = next(
            pid
            for pid in _pids(self.hosts[name].netns)
            if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd" and _first(pid)
        )
        words = ["nsenter", "--target", leader, "--mount", "--pid", "--net", "--uts", "--ipc", "--root", "--wd"]
        return do(
            *words, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "sh", "-c", command, check=check
        )

    def host_key(self, name: str) -> str:
        """The host's public key as its owner reads it at the console."""
        text = (self.hosts[name].folder / "disk/upper/etc/ssh/ssh_host_ed25519_key.pub").read_text()
        return " ".join(text.split()[:2])


def _own_files(host: Bare, upper: Path, key: str) -> None:
    """What the owner's installer writes: name, addresses, host keys, the user with a key and sudo."""
    node = host.node
    stanza = [f"auto {INTERFACE}"]
    for address, gateway, prefix in zip(node.addresses, host.gateways, host.prefixes, strict=False):
        family = "inet" if address.version == 4 else "inet6"
        stanza += [f"iface {INTERFACE} {family} static", f"  address {address}/{prefix}", f"  gateway {gateway}"]
        stanza += ["  dad-attempts 0", "  accept_ra 0"] if family == "inet6" else []
    files = {
        "etc/hostname": f"{node.name}\n",
        "etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {node.name}\n",
        "etc/network/interfaces": "auto lo\niface lo inet loopback\n" + "\n".join(stanza) + "\n",
        "etc/machine-id": hashlib.sha256(f"{node.name}{time.time()}".encode()).hexdigest()[:32] + "\n",
        # proxy.py answers no pipelined requests
        "etc/apt/apt.conf.d/50owner": 'Acquire::http::Pipeline-Depth "0";\n',
        "etc/sudoers.d/deploy": f"{OWNER} ALL=(ALL:ALL) NOPASSWD: ALL\n",
        f"home/{OWNER}/.ssh/authorized_keys": key,
    }
    for name, text in files.items():
        path = upper / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (upper / "etc/sudoers.d").chmod(0o750)
    (upper / "etc/sudoers.d/deploy").chmod(0o440)
    home = upper / "home" / OWNER
    for path in (home, home / ".ssh", home / ".ssh/authorized_keys"):
        os.chown(path, 1000, 1000)
        path.chmod(0o600 if path.name == "authorized_keys" else 0o700)
    (upper / "etc/ssh").mkdir(exist_ok=True)
    for kind in ("ed25519", "rsa", "ecdsa"):
        do(
            "ssh-keygen",
            "-q",
            "-t",
            kind,
            "-N",
            "",
            "-C",
            f"root@{node.name}",
            "-f",
            upper / f"etc/ssh/ssh_host_{kind}_key",
        )


def _file_system(file: Path, gib: int) -> None:
    with file.open("xb") as made:
        made.truncate(gib * 2**30)
    do("mkfs.ext4", "-q", "-O", "encrypt", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-m", "0", file)


def _network_of(address: str) -> str:
    return address.rpartition(".")[0]


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _pids(name: str) -> list[int]:
    found = []
    for file in (hierarchies()[-1] / name).rglob("cgroup.procs"):
        try:
            found += [int(line) for line in file.read_text().split()]
        except OSError:
            continue
    return found


def _first(pid: int) -> bool:
    """Whether a process is the first of its own process namespace."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return line.split()[-1] == "1"
    return False


def _kill(name: str) -> None:
    """End a guest at once and remove its control groups."""
    for _ in range(100):
        kill = hierarchies()[-1] / name / "cgroup.kill"
        if kill.exists():
            kill.write_text("1")
        if not _pids(name):
            break
        time.sleep(0.1)
    for _ in range(50):
        left = [path for root in hierarchies() for path in (root / name,) if path.exists()]
        if not left:
            break
        for path in left:
            do("find", path, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+", check=False)
        time.sleep(0.1)
    for folder in ("propagate", "unix-export"):
        shutil.rmtree(Path("/run/systemd/nspawn", folder, name), ignore_errors=True)


def _open(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), 1):
            return True
    except OSError:
        return False


def _until(true: "object", what: str) -> None:
    deadline = time.monotonic() + _LOOK_SECONDS
    while not true():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not there after {_LOOK_SECONDS:.0f} s")
        time.sleep(0.2)


if __name__ == "__main__":
    world = DataCentre(Topology.of(load_environment(sys.argv[2])), sys.argv[3:])
    getattr(world, sys.argv[1])()
