# SPDX-License-Identifier: Apache-2.0
"""Runs on a host: how does each of its listeners speak? Arguments: address,port ...

Prints a JSON object by ``address,port``: ``speaks`` (ssh, tls, members, redirect or clear), ``version`` and ``suite`` of the handshake,
``old`` (what TLS 1.1 got), ``certificate`` (DER, base64) and ``answer`` (what came to a request in clear, 80 characters).
PostgreSQL and NUT's upsd are asked for TLS in their own ways.
"""

import base64
import json
import socket
import ssl
import sys
import warnings
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

warnings.simplefilter("ignore")  # Python warns of TLS 1.1; we want it refused
SECONDS = 3
#: What a server wants to hear before TLS, and what it then says.
BEFORE = {"": (b"", b""), "postgres": (b"\0\0\0\x08\x04\xd2\x16\x2f", b"S"), "upsd": (b"STARTTLS\n", b"OK STARTTLS\n")}


def connected(address, port):
    one = socket.create_connection((address, port), timeout=SECONDS)
    one.settimeout(SECONDS)
    return one


def handshake(address, port, way, oldest, newest):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = oldest, newest
    context.load_cert_chain("/etc/jinku/tls/host.pem", "/etc/jinku/tls/host.key")
    with connected(address, port) as plain:
        asked, wanted = BEFORE[way]
        if asked:
            plain.sendall(asked)
            if plain.recv(len(wanted)) != wanted:
                raise ssl.SSLError("no TLS offered")
        with context.wrap_socket(plain) as wrapped:
            return wrapped.version(), wrapped.cipher()[0], base64.b64encode(wrapped.getpeercert(True)).decode()


def in_clear(address, port):
    """What comes to a request in clear; a server that speaks first is heard out."""
    try:
        with connected(address, port) as one:
            one.sendall(b"GET / HTTP/1.0\r\nHost: probe.invalid\r\n\r\n")
            return one.recv(400)
    except OSError:
        return b""


def looked_at(word):
    address, _, port = word.rpartition(",")
    answer = in_clear(address, int(port))
    found = {"answer": answer[:80].decode("latin-1"), "speaks": "clear"}
    if answer.startswith(b"SSH-2.0"):
        return word, {**found, "speaks": "ssh"}
    if answer.startswith(b"HTTP/1") and answer[9:12] in (b"301", b"302", b"308") and b"\nLocation: https://" in answer:
        return word, {**found, "speaks": "redirect"}
    for way in BEFORE:
        try:
            version, suite, certificate = handshake(
                address, int(port), way, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
            )
        except (OSError, ValueError) as error:
            if "ALERT" in (getattr(error, "reason", None) or ""):
                # It speaks TLS and refuses strangers: members of a cluster know each other by certificates of their own.
                found = {**found, "speaks": "members", "old": f"refused: {error.reason}"}
            continue
        try:
            old = handshake(address, int(port), way, ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)[0]
        except (OSError, ValueError) as error:
            old = f"refused: {getattr(error, 'reason', None) or error}"
        return word, {
            **found,
            "speaks": "tls",
            "version": version,
            "suite": suite,
            "certificate": certificate,
            "old": old,
        }
    return word, found


def one_after_another(words):
    """The addresses of one port. Side by side, handshakes that end at once have made rsyslog 8.2504 abort (librelp, seen on the lab)."""
    return [looked_at(word) for word in words]


PORTS = defaultdict(list)
for each in sys.argv[1:]:
    PORTS[each.rpartition(",")[2]].append(each)
with ThreadPoolExecutor(8) as pool:
    print(json.dumps(dict(pair for found in pool.map(one_after_another, PORTS.values()) for pair in found)))
