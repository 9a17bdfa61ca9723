# SPDX-License-Identifier: Apache-2.0
"""Runs on a host: try to send a UDP datagram to port 53 and an ICMP echo to each address. Arguments: addresses.

Prints ``<address> <dns|echo> sent|prohibited|<errno>``; ``prohibited`` means that the host's own filter refused to send it.
"""

import errno
import socket
import struct
import sys
import time

REFUSED = (errno.EPERM, errno.EACCES, errno.EHOSTUNREACH, errno.ENETUNREACH)


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def tried(send):
    try:
        send()
    except OSError as error:
        return "prohibited" if error.errno in REFUSED else str(error.errno)
    return "sent"


for address in sys.argv[1:]:
    six = ":" in address
    family = socket.AF_INET6 if six else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as dns:
        dns.connect((address, 53))

        def ask(one=dns):
            one.send(b"\x12\x34\1\0\0\1\0\0\0\0\0\0\7example\7invalid\0\0\1\0\1")
            time.sleep(0.05)  # a refusal by ICMP from our own host is told at the next call
            one.send(b"\0")

        print(address, "dns", tried(ask))
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP) as echo:
        packet = struct.pack("!BBHHH", 128 if six else 8, 0, 0, 7, 1)
        if not six:
            packet = struct.pack("!BBHHH", 8, 0, checksum(packet), 7, 1)
        print(address, "echo", tried(lambda one=echo, data=packet, to=address: one.sendto(data, (to, 0))))
