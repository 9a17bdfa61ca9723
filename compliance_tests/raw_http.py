# SPDX-License-Identifier: Apache-2.0
"""Requests that no library would send: bytes as they are, over TLS, to the CRM's door."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass

from crm_client import Door

TIMEOUT_S = 8.0
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


@dataclass(frozen=True)
class Said:
    """What came back: the statuses, one for each answer on the connection; none when it was closed without a word."""

    statuses: tuple[int, ...]
    text: bytes

    @property
    def refused(self) -> bool:
        """One answer at most, and it refuses: whatever was smuggled behind the request has got none of its own."""
        return len(self.statuses) <= 1 and all(
            status in {400, 403, 404, 405, 411, 413, 415, 421, 501, 505} for status in self.statuses
        )


def said(door: Door, data: bytes, source: str = "") -> Said:
    """Send ``data`` over a connection of its own (from the address ``source``), and hear until the server is done or silent."""
    bound = (source, 0) if source else None
    heard = b""
    with (
        socket.create_connection((door.address, door.port), TIMEOUT_S, source_address=bound) as plain,
        door.context().wrap_socket(plain, server_hostname=door.name) as wrapped,
    ):
        try:
            wrapped.sendall(data)
            while part := wrapped.recv(65536):
                heard += part
        except (TimeoutError, ssl.SSLError, ConnectionError):
            pass
    return Said(tuple(int(one) for one in _STATUS.findall(heard)), heard)
