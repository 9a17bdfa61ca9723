# SPDX-License-Identifier: Apache-2.0
"""Ask the kernel of each place given: with what its top and its entries are encrypted, and whether the key is there.

Prints a line for each: PLACE, then words of the policies in use (`v2,AES-256-XTS,AES-256-CTS,KEY` or `none`), `key=present`
or not, `file_system=N` (device number), and `clear=N`, entries of the file system itself that are neither encrypted nor Jinku's own.
"""

import errno
import fcntl
import os
import struct
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


def entries(place):
    """The place itself, and the files and folders directly in it."""
    yield place
    for entry in os.scandir(place):
        if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
            yield entry.path


for given in sys.argv[1:]:
    place, _, view = given.partition("=")
    found = [policy(path) for path in entries(place)]
    keys = {key for _, key in found if key}
    held = "present" if keys and all(present(place, key) for key in keys) else "absent"
    clear = len({path.name for path in Path(view).iterdir()} - OURS) if view and Path(view).is_dir() else -1
    words = " ".join(sorted({words for words, _ in found}))
    print(place, f"key={held}", f"clear={clear}", f"file_system={Path(place).stat().st_dev}", words)
