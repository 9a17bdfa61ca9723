# SPDX-License-Identifier: Apache-2.0
"""A client of the CRM as a browser is one: JSON-RPC over HTTPS through the edge, the edge's certificate verified."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from second_factor import AUTHENTICATOR, CODE, SETUP, Authenticator

from jinku.model import Node, Topology
from jinku.model.profiles import ALIASES
from jinku.model.topology import EDGE_HTTPS
from jinku.places import Places

TIMEOUT_S = 60.0


class CrmError(Exception):
    """The CRM answered with an error; `name` is its kind (such as UserError), `told` what it says."""

    def __init__(self, name: str, told: Any) -> None:
        super().__init__(f"{name}: {told}")
        self.name = name
        self.told = told


class RefusedError(Exception):
    """The edge or the CRM's server refused the request with an HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text[:200]}")
        self.status = status


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Door:
    """Where the CRM is reached: the edge's address and port, the name that a browser types, whom that browser trusts.

    `ca` is a file of root certificates, or None; then `authorities` (PEM) are trusted, or the machine's public ones.
    """

    address: str
    name: str
    ca: Path | None
    port: int = 443
    authorities: str | None = None

    @classmethod
    def of(cls, topology: Topology, places: Places, node: Node | None = None) -> Self:
        """The door of an edge (the first), as users reach it and with the trust that the environment promises them."""
        node, edge = node or topology.nodes_of("edge")[0], topology.env.edge
        root = places.pki / "root.pem" if edge.certificate == "inside" else None
        name = f"{ALIASES['edge']}.{topology.env.domain}"
        return cls(str(node.address), name, root, EDGE_HTTPS.port, edge.authorities)

    def context(self) -> ssl.SSLContext:
        """Return a TLS context that trusts who signs the users' certificate here, and nobody else."""
        return ssl.create_default_context(
            cafile=str(self.ca) if self.ca else None, cadata=None if self.ca else self.authorities
        )

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request over a connection of its own; the address is the edge's, the name is checked against the certificate.

        Raises OSError (ssl.SSLError among them) when no connection comes about.
        """
        connection = http.client.HTTPSConnection(self.name, self.port, timeout=TIMEOUT_S, context=self.context())
        plain = socket.create_connection((self.address, self.port), timeout=TIMEOUT_S)
        try:
            connection.sock = self.context().wrap_socket(plain, server_hostname=self.name)
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()
            plain.close()


def encoded(value: Any) -> Any:
    """Return a value as Tryton's JSON writes it: bytes become an object with base64."""
    if isinstance(value, bytes):
        return {"__class__": "bytes", "base64": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {key: encoded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(one) for one in value]
    return value


def decoded(value: dict[str, Any]) -> Any:
    """Return one JSON object of Tryton's as Python has it; what is not bytes stays as it is (json's object_hook)."""
    return base64.b64decode(value["base64"]) if value.get("__class__") == "bytes" else value


class Crm:
    """One user's session with one database of the CRM."""

    def __init__(self, door: Door, database: str, authenticator: Authenticator = AUTHENTICATOR) -> None:
        self.door = door
        self.database = database
        self.authenticator = authenticator
        self._session: str | None = None
        self._numbers = itertools.count()

    def send(self, method: str, params: list[Any], headers: Mapping[str, str] | None = None) -> Answer:
        """Send one JSON-RPC request and return the raw answer, whatever its status."""
        call = {"id": next(self._numbers), "method": method, "params": encoded(params)}
        body = json.dumps(call, ensure_ascii=False, separators=(",", ":")).encode()  # as a browser writes it
        sent = {"Content-Type": "application/json", "Origin": f"https://{self.door.name}", **(headers or {})}
        if self._session:
            sent["Authorization"] = f"Session {self._session}"
        return self.door.request("POST", f"/{self.database}/", body, sent)

    def call(self, method: str, *params: Any) -> Any:
        """Call a method and return its result; raises CrmError or RefusedError."""
        answer = self.send(method, list(params))
        if answer.status != http.client.OK:
            raise RefusedError(answer.status, answer.body.decode(errors="replace"))
        told = json.loads(answer.body, object_hook=decoded)
        if told.get("error"):
            name, *rest = told["error"]
            raise CrmError(name, rest)
        return told["result"]

    def login(self, user: str, password: str, **more: str) -> int:
        """Log in and return the user's id; `more` are further answers of the login. The authenticator answers for the second factor.

        Raises CrmError when something else is asked for, or a code again that was given; RefusedError when refused.
        """
        answers = {"password": password, **more}
        while True:
            try:
                number, key = self.call("common.db.login", user, answers, "en")
            except CrmError as error:
                question, told, *_ = error.told[0] if error.name == "LoginException" else ("", "")
                if question not in (SETUP, CODE) or question in answers:
                    raise
                answers[question] = self.authenticator.answer(user, question, told)
            else:
                self._session = base64.b64encode(f"{user}:{number}:{key}".encode()).decode()
                return int(number)

    def logout(self) -> None:
        """End the session at the server."""
        self.call("common.db.logout")
        self._session = None
