# SPDX-License-Identifier: Apache-2.0
"""Runs on a host or in a probe's namespace: send TCP segments that belong to no session.

Arguments: source,address,port,flags (a number) for each. The source need not be an address of this host. Prints how many
were sent; what became of them, the counters of the filter under test tell.
"""

import socket
import struct
import sys

IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75


def send(source, address, port, flags):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    head = struct.pack("!HHIIBBHHH", 61234, port, 1000, 2000, 5 << 4, flags, 1024, 0, 0)
    pseudo = socket.inet_pton(family, source) + socket.inet_pton(family, address)
    pseudo += struct.pack("!II", len(head), 6) if ":" in address else struct.pack("!HH", 6, len(head))
    total = sum(struct.unpack(f"!{len(pseudo + head) // 2}H", pseudo + head))
    total = (total >> 16) + (total & 0xFFFF)
    total = ~(total + (total >> 16)) & 0xFFFF
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        if ":" in address:
            raw.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        else:
            raw.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        raw.bind((source, 0))
        raw.sendto(head[:16] + struct.pack("!H", total) + head[18:], (address, 0))


for word in sys.argv[1:]:
    source, address, port, flags = word.split(",")
    send(source, address, int(port), int(flags))
print(len(sys.argv) - 1)
