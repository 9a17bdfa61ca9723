# SPDX-License-Identifier: GPL-3.0-or-later
"""What uWSGI serves: Tryton, for the edge only, and a health page that includes the database.

The router (HAProxy) has verified the client's certificate against our CA before a request comes here, and puts its common name in
the header X-Jinku-Client, in the place of whatever the client called itself.
"""

import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

import psycopg2
from trytond import backend
from trytond.application import app as tryton
from trytond.config import config
from trytond.pool import Pool
from trytond.transaction import Transaction

from jinku_crm import password

__all__ = ["application"]

Start = Callable[[str, list[tuple[str, str]]], Any]

logger = logging.getLogger(__name__)
_database = config.get("jinku", "database")
_edges = frozenset(config.get("jinku", "edges").split())
_watchers = _edges | frozenset(config.get("jinku", "watchers").split())


def _answer(start: Start, status: str, body: dict[str, Any]) -> Iterable[bytes]:
    content = json.dumps(body).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(content))),
        ("Cache-Control", "no-store"),
    ]
    start(status, headers)
    return [content]


def database_answers() -> bool:
    """Whether the database answers: a new connection first, for that says most and fails soonest.

    Between a rotation of the password and the agent's next look only kept connections work; then these decide, as for users.
    """
    try:
        connection = password.connect(**backend.Database._connection_params(_database))  # noqa: SLF001  Tryton's own way
        try:
            return _has_modules(connection)
        finally:
            connection.close()
    except psycopg2.Error as error:
        logger.warning("health: no new connection to the database: %s", error)
        if not password.is_refused(error):
            return False
    try:
        with Transaction().start(_database, 0, readonly=True) as transaction:
            return _has_modules(transaction.connection)
    except psycopg2.Error as error:
        logger.error("health: the database does not answer: %s", error)  # noqa: TRY400  a trace says no more
        return False


def _has_modules(connection: Any) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM ir_module WHERE state = 'activated'")
        return bool(cursor.fetchone()[0])


def health(start: Start) -> Iterable[bytes]:
    """200 when the application and its database answer, else 503."""
    good = database_answers()
    body = {"schema": "jinku/crm-health/1", "application": True, "database": good}
    return _answer(start, "200 OK" if good else "503 Service Unavailable", body)


def application(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    """Tryton behind the edge: any other holder of a certificate of our CA is refused."""
    name = environ.get("HTTP_X_JINKU_CLIENT", "")
    if environ.get("PATH_INFO") == "/health" and name in _watchers:
        return health(start)
    if name not in _edges:
        logger.error("refused: %r is not an edge", name)
        return _answer(start, "403 Forbidden", {"error": "only the edge may ask"})
    return tryton(environ, start)  # type: ignore[no-any-return]


password.watch()
# Clients ask for the list of databases before anybody has logged in. There is one; no connection is spent on the question.
backend.Database.list = lambda *_, **__: [_database]
# Here, not at the first request: a server without its database shall not start, and systemd tries again.
Pool(_database).init()
