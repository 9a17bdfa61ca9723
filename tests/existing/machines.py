# SPDX-License-Identifier: Apache-2.0
"""What bare hosts are made of: a Debian as an installer leaves it, nspawn guests, namespaces and control groups, by plain tools."""

import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinku.model import Node
from jinku.places import cache_root
from stacks.provider.lab.sources import controller_sources

INTERFACE = "ens3"
OWNER = "deploy"
WAN6 = "fd84:ff77:"
SWITCH, ROUTER, WAN = "bare-switch", "bare-router", "bare-wan"
FOLDER = Path(os.environ.get("JINKU_BARE_DIR", "/var/tmp/jinku-bare"))
GROUPS = Path("/sys/fs/cgroup")
INCLUDE = "systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,python3,ca-certificates"
LOOK_SECONDS = 120.0

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


def image(suite: str = "trixie", architecture: str = "", more: Sequence[str] = ()) -> Path:
    """Folder with a Debian as mmdebstrap leaves it plus what an installer asks for, and ``more`` packages; made once and cached."""
    include = ",".join([INCLUDE, *more])
    told = f"2 {suite} {architecture} {include}"
    folder = cache_root() / "bare" / hashlib.sha256(told.encode()).hexdigest()[:16]
    if folder.exists():
        return folder
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    draft.parent.mkdir(parents=True, exist_ok=True)
    # An image that is only there to be refused needs no updates, and their lists may be in the making for an old architecture.
    lines = "\n".join(controller_sources().lines(suite)[: 1 if architecture else None]) + "\n"
    # i386 runs on an amd64 kernel: nothing needs to be emulated
    words = [f"--architectures={architecture}", "--skip=check/qemu"] if architecture else []
    do("mmdebstrap", "--quiet", "--variant=important", f"--include={include}", *words, suite, draft, "-", stdin=lines)
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


def namespace(name: str) -> None:
    """Make a network namespace; not by `ip netns add`, which leaves a mount of the folder itself on the machine."""
    path = Path("/run/netns", name)
    path.parent.mkdir(exist_ok=True)
    path.touch(0o444)
    do("unshare", f"--net={path}", "true")


def own_files(host: Bare, upper: Path, key: str) -> None:
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


def file_system(file: Path, gib: int) -> None:
    with file.open("xb") as made:
        made.truncate(gib * 2**30)
    do("mkfs.ext4", "-q", "-O", "encrypt", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-m", "0", file)


def network_of(address: str) -> str:
    return address.rpartition(".")[0]


def environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def pids(name: str) -> list[int]:
    found = []
    for file in (hierarchies()[-1] / name).rglob("cgroup.procs"):
        try:
            found += [int(line) for line in file.read_text().split()]
        except OSError:
            continue
    return found


def first(pid: int) -> bool:
    """Whether a process is the first of its own process namespace."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return line.split()[-1] == "1"
    return False


def kill(name: str) -> None:
    """End a guest at once and remove its control groups."""
    for _ in range(100):
        kill = hierarchies()[-1] / name / "cgroup.kill"
        if kill.exists():
            kill.write_text("1")
        if not pids(name):
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


def listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), 1):
            return True
    except OSError:
        return False


def until(true: Callable[[], bool], what: str, seconds: float = LOOK_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not there after {seconds:.0f} s")
        time.sleep(0.2)
