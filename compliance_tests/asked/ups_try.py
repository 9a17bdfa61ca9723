# SPDX-License-Identifier: Apache-2.0
"""Tries, on a host as root, what a host must not be able to: to have every host of its site stop. Asks for the right, and uses none.

Arguments: address and port of upsd, name of the UPS. Prints a line for each try, ``<who>: <what upsd answered>``: a stranger, the host's own
account with a wrong password, and with its own, which comes from upsmon's settings and is shown to nobody. ``own login`` is what it must be able to;
with ``fsd`` as fourth argument the forced shutdown itself is asked for, and nothing less.
"""

import shlex
import socket
import ssl
import sys
from pathlib import Path

SETTINGS = Path("/etc/jinku/power/upsmon.conf")


def asked(address, port, *lines):
    """Answers of upsd to lines, over TLS; who it is was proven by upsmon, so nobody's name is verified here."""
    with socket.create_connection((address, port), timeout=10) as plain:
        plain.sendall(b"STARTTLS\n")
        if not plain.recv(256).startswith(b"OK"):
            return ["no TLS"]
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) as secure:
            stream = secure.makefile("rw")
            answers = []
            for line in lines:
                stream.write(f"{line}\n")
                stream.flush()
                answers.append(stream.readline().strip())
            return answers


def main():
    """Try each, and say what came of it."""
    address, port, unit = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    words = next(shlex.split(line) for line in SETTINGS.read_text().splitlines() if line.strip().startswith("MONITOR"))
    user, password = words[3], words[4]
    right = "FSD" if sys.argv[4:] == ["fsd"] else "PRIMARY"
    ask = f"{right} {unit}"
    print("stranger:", asked(address, port, ask)[-1])
    print("wrong password:", asked(address, port, f"USERNAME {user}", f'PASSWORD "{password[::-1]}"', ask)[-1])
    print("primary's name:", asked(address, port, "USERNAME primary", f'PASSWORD "{password}"', ask)[-1])
    print("own account:", asked(address, port, f"USERNAME {user}", f'PASSWORD "{password}"', ask)[-1])
    print("own login:", asked(address, port, f"USERNAME {user}", f'PASSWORD "{password}"', f"LOGIN {unit}")[-1])


main()
