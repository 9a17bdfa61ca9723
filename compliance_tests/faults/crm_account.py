# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a CRM host, as the CRM's account: makes, ages or retires the account that the fault tests log in with.

The sender puts a line `ARGUMENTS = {...}` before this text: ``login``; ``do``: temporary, expired, own, aged, idle or retire; ``password``.
"""

import datetime as dt
import os
import sys

sys.path.insert(0, "/usr/lib/jinku/crm")
os.environ["TRYTOND_CONFIG"] = "/etc/jinku/crm/trytond.conf"
from jinku_crm import pool

ARGUMENTS: dict[str, str] = globals()["ARGUMENTS"]
HOUR = dt.timedelta(hours=1)


def work(objects) -> None:  # type: ignore[no-untyped-def]  # Tryton's pool has no types
    """Do what ARGUMENTS ask, in one transaction of the server itself."""
    from trytond.transaction import Transaction, inactive_records

    accounts, do, past = objects.get("res.user"), ARGUMENTS["do"], dt.datetime.now(dt.UTC).replace(tzinfo=None) - HOUR
    with inactive_records():
        users = accounts.search([("login", "=", ARGUMENTS["login"])]) or accounts.create(
            [{"login": ARGUMENTS["login"]}]
        )
    if do == "retire":
        accounts.write(users, {"active": False, "password": None})
        # What one test guessed from this machine's address must not lock the next one out for half an hour.
        attempts = objects.get("res.user.login.attempt")
        attempts.delete(attempts.search([("login", "like", ARGUMENTS["login"] + "%")]))
    elif do == "idle":
        session = objects.get("ir.session").__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(
            *session.update(
                [session.create_date, session.write_date], [past, past], where=session.create_uid == users[0].id
            )
        )
    else:
        data = objects.get("ir.model.data")
        groups = [
            data.get_id("party", "group_party_admin"),
            data.get_id("sale_opportunity", "group_opportunity"),
        ]
        companies = [company.id for company in objects.get("company.company").search([], limit=1)]
        accounts.write(users, {"active": True, "password": ARGUMENTS["password"], "groups": [("add", groups)]})
        accounts.write(users, {"companies": [("add", companies)], "company": companies[0]})
        if do in ("own", "aged"):
            accounts.write(users, {"password_temporary": False, "password_until": past if do == "aged" else None})
        elif do == "expired":
            accounts.write(users, {"password_until": past})


pool.run("crm", work)
