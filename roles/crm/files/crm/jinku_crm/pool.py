# SPDX-License-Identifier: GPL-3.0-or-later
"""Tryton's objects in a transaction, for programs beside the server."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from psycopg2 import OperationalError
from psycopg2.errors import DeadlockDetected, SerializationFailure

from jinku_crm import password

Result = TypeVar("Result")

#: Seconds in which the agent fetches the present password, after a rotation before its time.
WAIT_SECONDS = 30
#: How often work is done again after somebody else changed the same rows; as often as the server does it for a request.
REPEATS = 5


def _wait_for_the_password(database: str) -> None:
    from trytond.backend.postgresql import Database

    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            password.connect(**Database._connection_params(database)).close()  # noqa: SLF001  Tryton's own way to connect
        except OperationalError as error:
            if not password.is_refused(error) or time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return


def run(database: str, work: Callable[[Any], Result], *, readonly: bool = False) -> Result:
    """Call ``work`` with the pool of the database, inside one transaction of the server itself (user 0), and return its result.

    Committed unless something is raised. Called again from the start when Tryton finds that it needs a lock first, and when
    somebody else changed the same rows meanwhile (PostgreSQL 17, 13.2.2: an application must be prepared to retry).

    :raises psycopg2.errors.SerializationFailure: others were faster every time.
    """
    from trytond.pool import Pool
    from trytond.transaction import Transaction, TransactionError

    password.watch()
    _wait_for_the_password(database)
    Pool.start()
    pool = Pool(database)
    pool.init()
    extras: dict[str, Any] = {}
    repeats = 0
    while True:
        with Transaction().start(database, 0, readonly=readonly, context={"language": "en"}, **extras) as transaction:
            try:
                result = work(pool)
                if not readonly:
                    transaction.commit()
            except TransactionError as error:
                transaction.rollback()
                error.fix(extras)
            except (SerializationFailure, DeadlockDetected):
                transaction.rollback()
                if repeats == REPEATS:
                    raise
                repeats += 1
                time.sleep(0.02 * repeats)
            else:
                return result
