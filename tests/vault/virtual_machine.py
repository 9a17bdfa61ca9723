# SPDX-License-Identifier: Apache-2.0
"""A machine with a kernel of its own (tests/existing/own_kernel.py), alone.

It reaches this machine's loopback at 10.0.2.2 (user networking of QEMU), and is reached by SSH at a port on loopback.
"""

import hashlib
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "existing"))

import own_kernel
from machines import do

GATEWAY = "10.0.2.2"
_MEMORY_MIB = 768
#: What a test's machine needs not: it would take the emulated processor most of the start.
MASKED = ("e2scrub_reap.service", "systemd-timesyncd.service", "cron.service", "apt-daily.timer", "apt-daily-upgrade.timer", "man-db.timer",
          "systemd-update-utmp.service", "systemd-networkd-wait-online.service", "keyboard-setup.service", "console-setup.service",
          "getty@tty1.service", "serial-getty@ttyS0.service", "nftables.service", "systemd-pstore.service", "ldconfig.service",
          "systemd-journal-catalog-update.service", "systemd-hwdb-update.service", "ifupdown-pre.service", "systemd-rfkill.socket", "user@0.service")  # fmt: skip


class Machine:
    """One machine in a folder of its own. ``disks``: name -> size in MiB; each is /dev/disk/by-id/virtio-NAME and FOLDER/NAME.raw."""

    def __init__(self, folder: Path, name: str, disks: dict[str, int]) -> None:
        self.folder, self.name, self.disks = folder, name, disks
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key")
        for disk, size in disks.items():
            with self.raw(disk).open("xb") as made:
                made.truncate(size * 2**20)
        self._own()

    def raw(self, disk: str) -> Path:
        """A disk as it lies on this machine."""
        return self.folder / f"{disk}.raw"

    def _own(self) -> None:
        """Write what an installer asks for, in a mount namespace that ends with the command."""
        network = f"auto lo\niface lo inet loopback\nallow-hotplug eth0\niface eth0 inet static\n  address 10.0.2.15/24\n  gateway {GATEWAY}\n"
        files = {
            "etc/hostname": f"{self.name}\n",
            "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n{GATEWAY} vault.test.jinku\n",
            "etc/network/interfaces": network,
            "etc/machine-id": hashlib.sha256(str(self.folder).encode()).hexdigest()[:32] + "\n",
            "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
            "root/.ssh/authorized_keys": (self.folder / "key.pub").read_text(),
        }
        for name, text in files.items():
            path = self.folder / "own" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (self.folder / "own/root").chmod(0o700)
        (self.folder / "own/root/.ssh").chmod(0o700)
        own_kernel.lay(self.folder / "root.raw", self.folder / "own")
        do(
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-euc",
            'mount -o loop "$1/root.raw" /mnt; chroot /mnt ssh-keygen -A',
            "sh",
            self.folder,
        )

    def start(self, without: Sequence[str] = ()) -> None:
        """Switch it on, its disks in but for ``without``, and wait until root gets in."""
        told = "systemd.unit=multi-user.target net.ifnames=0 audit=0 " + " ".join(
            f"systemd.mask={unit}" for unit in MASKED
        )
        disks = {name: self.raw(name) for name in ("root", *(disk for disk in self.disks if disk not in without))}
        way = f"user,id=net,hostfwd=tcp:127.0.0.1:{self.port}-:22"
        network = ["-netdev", way, "-device", "virtio-net-pci,netdev=net,romfile="]
        words = own_kernel.start_words(disks, network, _MEMORY_MIB, told)
        with (self.folder / "console.log").open("ab") as console:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        deadline = time.monotonic() + own_kernel.BOOT_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "console.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name}: ended, or not up after {own_kernel.BOOT_SECONDS:.0f} s: {said}")
            time.sleep(1)

    def answers(self) -> bool:
        """Whether root gets in; one connection then carries every command, for a login takes an emulated processor many seconds."""
        carry = self.ssh("-o", "ControlMaster=yes", "-o", "ControlPersist=yes", "-fN")
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            done = subprocess.run(self.ssh("-O", "check"), **quiet, check=False)
            return done.returncode == 0 or subprocess.run(carry, **quiet, check=False, timeout=180).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def ssh(self, *options: str) -> list[str]:
        """The words of a way in."""
        words = ["-F", "none", "-i", str(self.folder / "key"), "-p", str(self.port), "-o", "BatchMode=yes"]
        words += ["-o", f"UserKnownHostsFile={self.folder}/known_hosts", "-o", "StrictHostKeyChecking=accept-new"]
        words += ["-o", "ConnectTimeout=60", "-o", "LogLevel=ERROR", "-o", f"ControlPath={self.folder}/way"]
        return ["ssh", *words, *options, "root@127.0.0.1"]

    def run(self, command: str, given: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root."""
        words = [*self.ssh(), command]
        return subprocess.run(words, input=given, capture_output=True, text=True, check=False, timeout=timeout)

    def do(self, command: str, given: str = "", timeout: float = 120) -> str:
        """The same, which must succeed; returns what it printed."""
        done = self.run(command, given, timeout)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def put(self, path: str, content: str, mode: str = "0644") -> None:
        """Write a file."""
        self.do(f"install -D -m {mode} /dev/stdin {path}", content)

    def cut(self) -> None:
        """Take its power away."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self._ended()

    def off(self) -> None:
        """Shut it down in order."""
        assert self.process
        self.run("systemctl poweroff")
        self.process.wait(own_kernel.BOOT_SECONDS)
        self._ended()

    def _ended(self) -> None:
        self.process = None
        subprocess.run(self.ssh("-O", "exit"), capture_output=True, check=False)
        (self.folder / "way").unlink(missing_ok=True)
