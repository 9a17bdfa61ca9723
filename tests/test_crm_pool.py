# SPDX-License-Identifier: Apache-2.0
"""The CRM's own programs go on after somebody else changed the same rows, as its server does for a request."""

import contextlib
import importlib
import sys
from types import ModuleType
from unittest.mock import MagicMock

import pytest
from test_crm_contract import PROGRAM


class ChangedError(Exception):
    """Stands for psycopg2.errors.SerializationFailure."""


@pytest.fixture
def pool(monkeypatch):
    """The module with Tryton and psycopg2 stubbed; `transaction` is the one that it opens."""
    stubs = {
        name: ModuleType(name)
        for name in ("psycopg2", "psycopg2.errors", "trytond", "trytond.pool", "trytond.transaction")
    }
    stubs["psycopg2"].OperationalError = stubs["psycopg2"].connect = ChangedError
    stubs["psycopg2.errors"].SerializationFailure = stubs["psycopg2.errors"].DeadlockDetected = ChangedError
    stubs["trytond.pool"].Pool = MagicMock()
    stubs["trytond.transaction"].TransactionError = type("TransactionError", (Exception,), {})
    transaction = MagicMock()
    stubs["trytond.transaction"].Transaction = lambda: MagicMock(
        start=lambda *_, **__: contextlib.nullcontext(transaction)
    )
    for name, stub in stubs.items():
        monkeypatch.setitem(sys.modules, name, stub)
    monkeypatch.syspath_prepend(str(PROGRAM))
    for name in [name for name in sys.modules if name.partition(".")[0] == "jinku_crm"]:
        monkeypatch.delitem(sys.modules, name)
    found = importlib.import_module("jinku_crm.pool")
    monkeypatch.setattr(found, "_wait_for_the_password", lambda _: None)
    monkeypatch.setattr(found.time, "sleep", lambda _: None)
    found.transaction = transaction
    yield found
    for name in [name for name in sys.modules if name.partition(".")[0] == "jinku_crm"]:
        del sys.modules[name]


def test_work_that_met_another_change_is_done_again(pool):
    tries = []

    def work(_):
        tries.append(1)
        if len(tries) < 3:
            raise ChangedError
        return "done"

    assert pool.run("crm", work) == "done"
    assert (pool.transaction.rollback.call_count, pool.transaction.commit.call_count) == (2, 1)


def test_a_change_that_is_met_at_the_commit_counts_too(pool):
    pool.transaction.commit.side_effect = [ChangedError, None]
    assert pool.run("crm", lambda _: "done") == "done"


def test_it_is_not_done_again_for_ever(pool):
    tries = []

    def work(_):
        tries.append(1)
        raise ChangedError

    with pytest.raises(ChangedError):
        pool.run("crm", work)
    assert len(tries) == pool.REPEATS + 1
    pool.transaction.commit.assert_not_called()


def test_what_only_reads_commits_nothing(pool):
    assert pool.run("crm", lambda _: "done", readonly=True) == "done"
    pool.transaction.commit.assert_not_called()
