# SPDX-License-Identifier: GPL-3.0-or-later
"""Tryton's objects in a transaction, for programs beside the server."""

from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


def run(database: str, work: Callable[[Any], Result], *, readonly: bool = False) -> Result:
    """Call ``work`` with the pool of the database, inside one transaction of the server itself (user 0), and return its result.

    Committed unless something is raised. Called again from the start when Tryton finds that it needs a lock first.
    """
    from trytond.pool import Pool
    from trytond.transaction import Transaction, TransactionError

    Pool.start()
    pool = Pool(database)
    pool.init()
    extras: dict[str, Any] = {}
    while True:
        with Transaction().start(database, 0, readonly=readonly, context={"language": "en"}, **extras) as transaction:
            try:
                result = work(pool)
            except TransactionError as error:
                transaction.rollback()
                error.fix(extras)
                continue
            if not readonly:
                transaction.commit()
            return result
