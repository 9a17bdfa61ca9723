# SPDX-License-Identifier: Apache-2.0
"""Count texts in an image file or a block device as it lies on the disk: `raw_search.py FILE TEXT...`; holes are left out.

Prints one number for each text, and then how many bytes were looked at.
"""

import os
import sys

CHUNK = 1 << 24
path, *texts = sys.argv[1:]
wanted = [text.encode() for text in texts]
overlap = max(map(len, wanted)) - 1
counts, looked = [0] * len(wanted), 0
descriptor = os.open(path, os.O_RDONLY)
size = os.lseek(descriptor, 0, os.SEEK_END)
position = 0
while position < size:
    try:
        start = os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError:  # nothing but a hole up to the end
        break
    end = os.lseek(descriptor, start, os.SEEK_HOLE)
    tail = b""
    while start < end:
        data = os.pread(descriptor, min(CHUNK, end - start), start)
        if not data:
            break
        # what lies across the border of two chunks is found once: the tail is shorter than any text
        for number, text in enumerate(wanted):
            counts[number] += (tail[len(tail) - len(text) + 1 :] + data).count(text)
        tail = data[-overlap:]
        start += len(data)
        looked += len(data)
    position = end
print(*counts, looked)
