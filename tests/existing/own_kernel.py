# SPDX-License-Identifier: Apache-2.0
"""What a machine with a kernel of its own starts with: the bare Debian with Debian's kernel, by QEMU. Root only.

By KVM where the processor has it; in software elsewhere, where a start takes a minute or two (also by kvm_pvm, which starts no such kernel).
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from machines import do, image

KERNEL = ("linux-image-cloud-amd64", "cryptsetup-bin", "apparmor")  # as an installer leaves it
_ROOT_GIB = 6
BOOT_SECONDS = 480.0


def missing() -> str:
    """What this machine lacks for machines of its own; empty where it lacks nothing."""
    if os.geteuid() != 0:
        return "needs root: it makes a machine's disk"
    lacks = [name for name in ("qemu-system-x86_64", "mmdebstrap", "cryptsetup") if not shutil.which(name)]
    return f"needs {', '.join(lacks)} (`apt-get install qemu-system-x86 mmdebstrap cryptsetup-bin`)" if lacks else ""


def processor() -> list[str]:
    """Words for QEMU. kvm_pvm, which gives /dev/kvm to a machine that is virtual itself, starts no kernel of Debian's."""
    if os.access("/dev/kvm", os.W_OK) and any(Path("/sys/module", name).exists() for name in ("kvm_intel", "kvm_amd")):
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg", "-cpu", "Nehalem"]


#: An initrd with the drivers of these disks alone; Debian's own takes QEMU half a minute more.
INITRD = """
mount --bind "$1" "$1"; mount -t proc proc "$1/proc"; mount -t tmpfs tmpfs "$1/tmp"
cp -a "$1/etc/initramfs-tools" "$1/tmp/conf"
sed -i s/^MODULES=.*/MODULES=list/ "$1/tmp/conf/initramfs.conf"; printf 'virtio_pci\\nvirtio_blk\\nvirtio_net\\next4\\n' >"$1/tmp/conf/modules"
chroot "$1" mkinitramfs -d /tmp/conf -o /tmp/initrd "$(basename "$1"/boot/vmlinuz-* | sed s/vmlinuz-//)"
cp "$1/tmp/initrd" "$2"
"""


def initrd() -> Path:
    """What the kernel starts with; made once and cached."""
    folder = image(more=KERNEL)
    file = folder.with_suffix(".initrd")
    if not file.exists():
        draft = file.with_suffix(f".{os.getpid()}")
        do("unshare", "--mount", "--propagation", "private", "sh", "-euc", INITRD, "sh", folder, draft)
        draft.rename(file)
    return file


def root_disk() -> Path:
    """The system's disk as every machine begins with it; made once and cached, beside the folder that it is made of."""
    folder = image(more=KERNEL)
    disk = folder.with_suffix(".disk")
    if not disk.exists():
        draft = disk.with_suffix(f".{os.getpid()}")
        with draft.open("xb") as made:
            made.truncate(_ROOT_GIB * 2**30)
        do("mke2fs", "-q", "-t", "ext4", "-d", folder, draft)
        draft.rename(disk)
    return disk


def lay(disk: Path, own: Path, gib: int = _ROOT_GIB) -> None:
    """Make a machine's system disk of so many GiB, with what lies below ``own`` as its own files."""
    do("cp", "--sparse=always", root_disk(), disk)
    if gib != _ROOT_GIB:
        os.truncate(disk, gib * 2**30)
        do("resize2fs", disk)
    copy = 'mount -o loop "$1" /mnt; cp -a "$2/." /mnt/'
    do("unshare", "--mount", "--propagation", "private", "sh", "-euc", copy, "sh", disk, own)


def start_words(disks: Mapping[str, Path], network: Sequence[str], memory_mib: int, kernel: str = "") -> list[str]:
    """QEMU's command line. ``disks``: by serial number, the system's first; ``network``: the words of its one card; ``kernel``: more for it."""
    (image_of,) = (image(more=KERNEL) / "boot").glob("vmlinuz-*")
    told = f"root=/dev/vda rw console=ttyS0 quiet mitigations=off cryptomgr.notests {kernel}"
    words = [
        "qemu-system-x86_64",
        *processor(),
        "-smp",
        "2",
        "-m",
        str(memory_mib),
        "-nodefaults",
        "-display",
        "none",
        "-serial",
        "stdio",
    ]
    words += [
        "-kernel",
        str(image_of),
        "-initrd",
        str(initrd()),
        "-append",
        told,
        "-device",
        "virtio-rng-pci",
        *network,
    ]
    for name, file in disks.items():
        words += ["-drive", f"file={file},format=raw,if=none,id={name},cache=writeback"]
        words += ["-device", f"virtio-blk-pci,drive={name},serial={name[:20]}"]
    return words
