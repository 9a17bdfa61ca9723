# SPDX-License-Identifier: Apache-2.0
"""The program of the lab's receiver. Arguments: address, folder.

Takes mail (STARTTLS demanded) and HTTPS posts, and writes each as a line of ``received.jsonl``: ``at`` (Unix time), ``way`` (mail or
webhook) and ``to``, ``subject``, ``text`` or ``alerts``. It believes everybody who comes: the lab's routers let only the monitor through.
"""

import datetime as dt
import json
import ssl
import sys
import threading
import time
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jinku.lab_receiver import RECEIVER, RECEIVER_MAIL_PORT, RECEIVER_WEBHOOK_PORT

_LARGEST = 4 * 1024 * 1024  # bytes of a post
_LOCK = threading.Lock()


def keep(folder: Path, **what: Any) -> None:
    """Append what came to the record."""
    line = json.dumps({"at": round(time.time(), 3), **what}, ensure_ascii=False) + "\n"
    with _LOCK, (folder / "received.jsonl").open("a", encoding="utf-8") as record:
        record.write(line)


def certificate(folder: Path, address: str) -> tuple[Path, Path]:
    """Certificate and key that sign themselves, made the first time; their paths."""
    shown, secret = folder / "certificate.pem", folder / "key.pem"
    if shown.exists() and secret.exists():
        return shown, secret
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, RECEIVER)])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(RECEIVER), x509.IPAddress(ip_address(address))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=825))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret.touch(mode=0o600)
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    shown.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return shown, secret


class Mail:
    """Takes mail."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep a message."""
        content = envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
        message = message_from_bytes(content, policy=default)
        part: Message | None = message.get_body(("plain", "html")) if hasattr(message, "get_body") else None
        text = part.get_content() if part is not None and hasattr(part, "get_content") else ""
        keep(self._folder, way="mail", to=envelope.rcpt_tos, subject=str(message["Subject"]), text=text)
        return "250 kept"


def webhook(folder: Path) -> type[BaseHTTPRequestHandler]:
    """A handler of posts that keeps them in ``folder``."""

    class Post(BaseHTTPRequestHandler):
        """Takes Alertmanager's JSON."""

        def do_POST(self) -> None:
            """Keep it, or say what is wrong with it."""
            length = int(self.headers.get("Content-Length") or 0)
            try:
                told = json.loads(self.rfile.read(min(length, _LARGEST)))
                keep(folder, way="webhook", alerts=told["alerts"])
                self.send_response(200)
            except (ValueError, KeyError, TypeError):
                self.send_response(400)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing: the record has it."""

    return Post


def main(address: str, folder: Path) -> None:
    """Serve until killed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate(folder, address))
    Controller(
        Mail(folder),
        hostname=address,
        port=RECEIVER_MAIL_PORT,
        tls_context=context,
        require_starttls=True,
        server_hostname=RECEIVER,
    ).start()
    server = ThreadingHTTPServer((address, RECEIVER_WEBHOOK_PORT), webhook(folder))
    # The handshake in the thread of its connection: who connects and says nothing holds up nobody.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
