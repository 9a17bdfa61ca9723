# SPDX-License-Identifier: Apache-2.0
"""Runs on a host: send one TCP segment that belongs to no session. Arguments: own address, address, port, flags (number).

Prints what comes back within 0.6 s: ``answered`` (a segment from that port) or ``silent``. IPv4 and IPv6.
"""

import socket
import struct
import sys
import time

own, address, port, flags = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
SOURCE_PORT = 61234
family = socket.AF_INET6 if ":" in address else socket.AF_INET
head = struct.pack("!HHIIBBHHH", SOURCE_PORT, port, 1000, 2000, 5 << 4, flags, 1024, 0, 0)
pseudo = socket.inet_pton(family, own) + socket.inet_pton(family, address)
pseudo += struct.pack("!II", len(head), 6) if ":" in address else struct.pack("!HH", 6, len(head))
total = sum(struct.unpack(f"!{len(pseudo + head) // 2}H", pseudo + head))
total = (total >> 16) + (total & 0xFFFF)
total = ~(total + (total >> 16)) & 0xFFFF
with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
    raw.settimeout(0.05)
    raw.sendto(head[:16] + struct.pack("!H", total) + head[18:], (address, 0))
    end, said = time.monotonic() + 0.6, "silent"
    while time.monotonic() < end:
        try:
            data, sender = raw.recvfrom(2048)
        except TimeoutError:
            continue
        if family == socket.AF_INET:
            data = data[(data[0] & 15) * 4:]
        if sender[0].partition("%")[0] == address and struct.unpack("!HH", data[:4]) == (port, SOURCE_PORT):
            said = "answered"
            break
print(said)
