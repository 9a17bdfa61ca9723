# SPDX-License-Identifier: Apache-2.0
"""Runs on a host or in a probe's namespace: try many TCP connections at once. Arguments: [source=ADDRESS] address,port ...

Prints one line a target: ``<address>,<port> open|refused|prohibited|silent|unreachable <milliseconds>``. ``silent``: no
answer in 0.9 s, which is what a dropped packet looks like; ``prohibited``: an ICMP message refused it.
"""

import asyncio
import errno
import socket
import sys
import time

# Below the second after which Linux repeats a SYN: one probe is one packet, so that a filter's counter can be compared.
SECONDS = 0.9


async def probe(address, port, source):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    begin = time.monotonic()
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.setblocking(False)
        # A reset on close: a probe that did connect leaves no half-closed connection behind.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if source:
            one.bind((source, 0))
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(one, (address, port)), SECONDS)
            said = "open"
        except TimeoutError:
            said = "silent"
        except OSError as error:
            said = {
                errno.ECONNREFUSED: "refused",
                errno.EACCES: "prohibited",
                errno.EPERM: "prohibited",
                errno.EHOSTUNREACH: "unreachable",
                errno.ENETUNREACH: "unreachable",
            }.get(error.errno, str(error.errno))
    return f"{address},{port} {said} {1000 * (time.monotonic() - begin):.0f}"


async def main():
    words = sys.argv[1:]
    source = words.pop(0).partition("=")[2] if words and words[0].startswith("source=") else ""
    targets = [(word.rpartition(",")[0], int(word.rpartition(",")[2])) for word in words]
    for line in await asyncio.gather(*(probe(address, port, source) for address, port in targets)):
        print(line)


asyncio.run(main())
