# SPDX-License-Identifier: Apache-2.0
"""Runs on a host or in a probe's namespace: try many TCP connections at once. Arguments: [source=ADDRESS] address,port ...

Prints one line a target: ``<address>,<port> open|refused|prohibited|silent|unreachable``. ``silent``: no answer in 0.9 s, which is
what a dropped packet looks like; ``prohibited``: an ICMP message refused it. Few imports, for it starts many times a check.
"""

import errno
import select
import socket
import sys
import time

# Below the second after which Linux repeats a SYN: one probe is one packet, so that a filter's counter can be compared.
SECONDS = 0.9
WORDS = {
    0: "open",
    errno.ECONNREFUSED: "refused",
    errno.EACCES: "prohibited",
    errno.EPERM: "prohibited",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
}


def started(address, port, source):
    """A socket that is connecting, and the error if it failed at once."""
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    one.setblocking(False)
    # A reset on close: a probe that did connect leaves no half-closed connection behind.
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if source:
        one.bind((source, 0))
    return one, one.connect_ex((address, port))


def main():
    words = sys.argv[1:]
    source = words.pop(0).partition("=")[2] if words and words[0].startswith("source=") else ""
    poll, waiting, said = select.poll(), {}, {}
    end = time.monotonic() + SECONDS
    for word in words:
        one, error = started(word.rpartition(",")[0], int(word.rpartition(",")[2]), source)
        if error == errno.EINPROGRESS:
            waiting[one.fileno()] = (word, one)
            poll.register(one, select.POLLOUT)
        else:
            said[word] = WORDS.get(error, str(error))
    while waiting and (left := end - time.monotonic()) > 0:
        for number, _ in poll.poll(left * 1000):
            word, one = waiting.pop(number)
            poll.unregister(number)
            error = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            said[word] = WORDS.get(error, str(error))
            one.close()
    for word in words:
        print(word, said.get(word, "silent"))


main()
