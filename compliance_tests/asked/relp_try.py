# SPDX-License-Identifier: Apache-2.0
"""relp_try.py ADDRESS PORT CERTIFICATE KEY [LINE]: try to hand LINE to a RELP receiver; CERTIFICATE "none" offers none, "own" a self-made one.

Prints "taken" when the receiver acknowledged, else "refused: REASON". The receiver's own certificate is not judged here.
"""

import socket
import ssl
import subprocess
import sys
import tempfile

OFFERS = "relp_version=0\nrelp_software=relp_try,1,https://www.rsyslog.com\ncommands=syslog"


def self_made(folder: str) -> tuple[str, str]:
    """Make a certificate of nobody's authority in this host's name; return its files."""
    certificate, key = f"{folder}/own.pem", f"{folder}/own.key"
    name = socket.getfqdn()
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    subprocess.run(
        [*made, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    return certificate, key


def exchange(wire: ssl.SSLSocket, number: int, command: str, data: str) -> str:
    """Send one RELP command and return the data of the response."""
    body = data.encode()
    wire.sendall(f"{number} {command} {len(body)} ".encode() + body + b"\n")
    answer = b""
    while answer.count(b" ") < 3 and not answer.endswith(b"\n"):
        more = wire.recv(4096)
        if not more:
            raise ConnectionError("closed without an answer")
        answer += more
    return answer.split(b" ", 3)[-1].decode(errors="replace")


def main() -> None:
    """Try, then print."""
    address, port, certificate, key, *lines = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with tempfile.TemporaryDirectory() as folder:
        if certificate == "own":
            certificate, key = self_made(folder)
        if certificate != "none":
            context.load_cert_chain(certificate, key)
    try:
        with socket.create_connection((address, int(port)), timeout=10) as plain, context.wrap_socket(plain) as wire:
            said = exchange(wire, 1, "open", OFFERS)
            if not said.startswith("200"):
                raise ConnectionError(said)
            for number, line in enumerate(lines, 2):
                said = exchange(wire, number, "syslog", line)
                if not said.startswith("200"):
                    raise ConnectionError(said)
    except OSError as error:
        print("refused:", getattr(error, "reason", None) or error)
    else:
        print("taken")


main()
