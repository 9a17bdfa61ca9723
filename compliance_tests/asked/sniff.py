# SPDX-License-Identifier: Apache-2.0
"""sniff.py SECONDS CANARY PORT...: watch this host's own wires and say, for each port, how many packets had data and how many held CANARY.

Ends after SECONDS, or when the file /run/CANARY exists, which it removes. Prints "port packets bytes hits", one line a port.
Needs root. Loopback is left out.
"""

import select
import socket
import struct
import sys
import time
from pathlib import Path

ETH_P_ALL = 3
IPV4, IPV6, VLAN = 0x0800, 0x86DD, 0x8100
TCP = 6


def segment(frame: bytes) -> tuple[int, int, bytes] | None:
    """Return source port, destination port and data of a TCP segment in an Ethernet frame; None for anything else."""
    kind, at = struct.unpack("!H", frame[12:14])[0], 14
    if kind == VLAN:
        kind, at = struct.unpack("!H", frame[16:18])[0], 18
    if kind == IPV4 and frame[at + 9] == TCP:
        end = at + struct.unpack("!H", frame[at + 2 : at + 4])[0]
        at += (frame[at] & 15) * 4
    elif kind == IPV6 and frame[at + 6] == TCP:
        end = at + 40 + struct.unpack("!H", frame[at + 4 : at + 6])[0]
        at += 40
    else:
        return None
    source, destination = struct.unpack("!HH", frame[at : at + 4])
    return source, destination, frame[at + (frame[at + 12] >> 4) * 4 : end]


def main() -> None:
    """Watch, then print."""
    seconds, canary, ports = float(sys.argv[1]), sys.argv[2].encode(), [int(word) for word in sys.argv[3:]]
    found = {port: [0, 0, 0] for port in ports}
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
    until, stop = time.monotonic() + seconds, Path("/run") / sys.argv[2]
    while time.monotonic() < until and not stop.exists():
        if not select.select([wire], [], [], 0.1)[0]:
            continue
        frame, (interface, *_) = wire.recvfrom(65536)
        parsed = segment(frame) if interface != "lo" else None
        if parsed and parsed[2]:
            for port in {parsed[0], parsed[1]} & set(ports):
                found[port][0] += 1
                found[port][1] += len(parsed[2])
                found[port][2] += canary in parsed[2]
    stop.unlink(missing_ok=True)
    for port, (packets, size, hits) in found.items():
        print(port, packets, size, hits)


main()
