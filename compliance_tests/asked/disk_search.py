# SPDX-License-Identifier: Apache-2.0
"""Search a text where a file lies on a disk that is mapped by dm-crypt: `disk_search.py FILE TEXT`.

The file's blocks are read twice, past every cache: as the mapping shows them, where the text must be found, and as they lie on the disk
itself. Prints how often it is there on the disk, how often in the mapping, and how many bytes of each were looked at.
"""

import fcntl
import os
import struct
import subprocess
import sys
from pathlib import Path

FIEMAP, SYNC, FLUSH, EXTENTS = 0xC020660B, 1, 0x1261, 64
file, text = sys.argv[1:]
number = Path(file).stat().st_dev
name = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/dm/name").read_text().strip()
table = subprocess.run(["dmsetup", "table", name], capture_output=True, text=True, check=True).stdout.split()
disk, begin = Path(f"/sys/dev/block/{table[6]}").resolve().name, int(table[7]) * 512

descriptor = os.open(file, os.O_RDONLY)
asked = bytearray(struct.pack("<QQIIII", 0, 2**64 - 1, SYNC, 0, EXTENTS, 0) + bytes(56 * EXTENTS))
fcntl.ioctl(descriptor, FIEMAP, asked, True)
count = struct.unpack_from("<I", asked, 20)[0]
extents = [struct.unpack_from("<QQQ", asked, 32 + 56 * index)[1:] for index in range(count)]


def found(device, offset):
    """How often the text stands in the file's blocks on a device."""
    opened = os.open(device, os.O_RDONLY)
    fcntl.ioctl(opened, FLUSH)  # BLKFLSBUF: what was read before is forgotten
    return sum(os.pread(opened, length, offset + physical).count(text.encode()) for physical, length in extents)


print(found(f"/dev/{disk}", begin), found(f"/dev/mapper/{name}", 0), sum(length for _, length in extents))
