# SPDX-License-Identifier: Apache-2.0
"""Ask the kernel of each place given: with what its top and its entries are encrypted, and whether the key is there.

Prints a line for each: PLACE, then `key=present` or not, `clear=N`, entries of the file system itself that are neither encrypted nor
Jinku's own, `file_system=N` (device number), and words of what encrypts: the policies in use (`v2,AES-256-XTS,AES-256-CTS,KEY`), for a
mapped disk its cipher and the bits of its key (`luks2,aes-xts-plain64,512`), or `none`.
"""

import errno
import fcntl
import os
import struct
import subprocess
import sys
from pathlib import Path

GET_POLICY, KEY_STATUS = 0xC0096616, 0xC080661A
NAMES = {1: "AES-256-XTS", 4: "AES-256-CTS"}
OURS = {"jinku-content", "jinku-volume.json", "lost+found"}


def policy(path):
    """The policy of a file or folder, in words; `none`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    argument = bytearray(struct.pack("<Q", 24) + bytes(24))
    try:
        fcntl.ioctl(descriptor, GET_POLICY, argument, True)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOTTY):
            return "none", ""
        raise
    finally:
        os.close(descriptor)
    version, contents, names = struct.unpack_from("<BBB", argument, 8)
    key = bytes(argument[16:32]).hex()
    return f"v{version},{NAMES.get(contents, contents)},{NAMES.get(names, names)},{key}", key


def present(path, key):
    """Whether the kernel holds a key for the file system of a path."""
    argument = bytearray(struct.pack("<II32s", 2, 0, bytes.fromhex(key)) + bytes(88))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, KEY_STATUS, argument, True)
    finally:
        os.close(descriptor)
    return struct.unpack_from("<I", argument, 64)[0] == 2


def mapped(path):
    """What encrypts the disk below a path, in words, and whether the key is there; empty where it is not mapped by LUKS2."""
    number = os.lstat(path).st_dev
    folder = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/dm")
    if not folder.is_dir() or not (folder / "uuid").read_text().startswith("CRYPT-LUKS2-"):
        return "", False
    asked = ["dmsetup", "table", (folder / "name").read_text().strip()]
    _, _, target, cipher, key, *_ = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    size = int(key.split(":")[1]) * 8 if key.startswith(":") else len(key) * 4
    return f"luks2,{cipher},{size}" if target == "crypt" else "none", (folder / "suspended").read_text().strip() == "0"


def entries(place):
    """The place itself, and the files and folders directly in it."""
    yield place
    for entry in os.scandir(place):
        if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
            yield entry.path


for given in sys.argv[1:]:
    place, _, view = given.partition("=")
    words, held = mapped(place)
    if words:
        words = " ".join(sorted({mapped(path)[0] or "none" for path in entries(place)}))
        key = "present" if held else "absent"
        print(place, f"key={key}", "clear=0", f"file_system={Path(place).stat().st_dev}", words)
        continue
    found = [policy(path) for path in entries(place)]
    keys = {key for _, key in found if key}
    held = "present" if keys and all(present(place, key) for key in keys) else "absent"
    clear = len({path.name for path in Path(view).iterdir()} - OURS) if view and Path(view).is_dir() else -1
    words = " ".join(sorted({words for words, _ in found}))
    print(place, f"key={held}", f"clear={clear}", f"file_system={Path(place).stat().st_dev}", words)
