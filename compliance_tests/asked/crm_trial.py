# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripts share that try the CRM's own code on its host: a transaction that nobody ever sees, persons, and what came of a try.

Such a script imports this file by its name; the question carries both (asking.ask).
"""

import contextlib
import datetime as dt
import os
import re
import secrets
import sys

sys.path.insert(0, "/usr/lib/jinku/crm")
os.environ["TRYTOND_CONFIG"] = "/etc/jinku/crm/trytond.conf"  # read by the imports below
import psycopg2
from jinku_crm import pool


class Enough(Exception):  # noqa: N818 - no error: the way out of the transaction
    """Ends the transaction without a trace."""


def run(work):
    """Call ``work`` with Tryton's pool in one transaction, and roll that back."""

    def tried(objects):
        # A login removes old attempts of everybody, and who holds them until the end here would keep every other login waiting.
        objects.get("res.user.login.attempt").delay = lambda: dt.datetime(1970, 1, 1)  # noqa: DTZ001 - as Tryton keeps times
        work(objects)
        raise Enough

    with contextlib.suppress(Enough):
        pool.run("crm", tried)


def outcome(do, *more):
    """What ``do`` returns, as a text; or the kind of the refusal, if one of Tryton's, the database's or of ``more`` comes."""
    from trytond.exceptions import TrytonException

    try:
        return str(do())
    except psycopg2.OperationalError:  # of the moment, and says nothing about rights: all of it is done again
        raise
    except (TrytonException, psycopg2.Error, *more) as error:
        return type(error).__name__


def person(objects, name, *groups):
    """A new user, whose login begins with ``name``, in the groups (module, name)."""
    data, users = objects.get("ir.model.data"), objects.get("res.user")
    login = f"{name}-{secrets.token_hex(6)}"
    return users.create([{"login": login, "groups": [("add", [data.get_id(*group) for group in groups])]}])[0]


def password_of(user):
    """Give a user a password of their own, which lasts, and return it."""
    word = f"aB3-{secrets.token_hex(12)}"
    user.__class__.write([user], {"password": word})
    user.__class__.write([user], {"password_temporary": False, "password_until": None})
    return word


def secret_shown(told):
    """The otpauth URL in what a login said, or None."""
    shown = re.search(r"otpauth://[^\s)）]+", told)
    return shown and shown[0]
