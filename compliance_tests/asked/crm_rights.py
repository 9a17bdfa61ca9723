# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a CRM host as the application's account: what users of the CRM may do, tried by the application's own code.

Users and records are made in one transaction, which is rolled back at the end: nothing of it is ever seen by anybody.
Prints lines ``<what>=done`` or ``<what>=<kind of refusal>``.
"""

import contextlib
import datetime as dt
import os
import re
import secrets
import sys
import time

sys.path.insert(0, "/usr/lib/jinku/crm")
os.environ["TRYTOND_CONFIG"] = "/etc/jinku/crm/trytond.conf"  # read by the imports below
import psycopg2
from jinku_crm import pool
from passlib.totp import TOTP


class Enough(Exception):  # noqa: N818 - no error: the way out of the transaction
    """Ends the transaction without a trace."""


def work(objects) -> None:  # type: ignore[no-untyped-def]  # noqa: PLR0915 - Tryton's pool has no types; one transaction, one text
    """Make the users, try, and tell."""
    from trytond.exceptions import LoginException, TrytonException
    from trytond.transaction import Transaction

    transaction = Transaction()
    data, users, sessions = objects.get("ir.model.data"), objects.get("res.user"), objects.get("ir.session")
    company = objects.get("company.company").search([], limit=1)[0].id
    cursor, mark = transaction.connection.cursor(), secrets.token_hex(6)
    # A login removes old attempts of everybody, and who holds them until the end here would keep every other login waiting.
    objects.get("res.user.login.attempt").delay = lambda: dt.datetime(1970, 1, 1)  # noqa: DTZ001 - as Tryton keeps times

    def user(name, *groups):
        made = {"login": f"{name}-{mark}", "groups": [("add", [data.get_id(*group) for group in groups])]}
        one = users.create([made])[0]
        users.write([one], {"companies": [("add", [company])], "company": company})
        return one.id

    def tried(what, who, do):
        cursor.execute("SAVEPOINT tried")
        try:
            with (
                transaction.set_user(who),
                transaction.set_context(users(who).get_preferences(True), _check_access=True),
            ):
                do()
            said = "done"
        except psycopg2.OperationalError:  # of the moment, and says nothing about rights: all of it is done again
            raise
        except (TrytonException, psycopg2.Error) as error:
            said = type(error).__name__
        print(f"{what}={said}")
        cursor.execute("ROLLBACK TO SAVEPOINT tried")
        transaction.cache.clear()

    nobody, sales = user("nobody"), user("sales", ("sale", "group_sale"), ("sale_opportunity", "group_opportunity"))
    admin = user("admin", ("res", "group_admin"))
    party = objects.get("party.party").create([{"name": f"check {mark}"}])[0].id
    sale, lead = objects.get("sale.sale"), objects.get("sale.opportunity")
    group = data.get_id("res", "group_admin")
    order = {"party": party, "company": company}
    tried("sale by sales", sales, lambda: sale.create([order]))
    tried("sale by nobody", nobody, lambda: sale.create([order]))
    tried("sale by admin", admin, lambda: sale.create([order]))
    tried("user by admin", admin, lambda: users.create([{"login": f"made-{mark}"}]))
    tried("user by sales", sales, lambda: users.create([{"login": f"made-{mark}"}]))
    tried("more rights by sales", sales, lambda: users.write([users(sales)], {"groups": [("add", [group])]}))
    tried(
        "group by nobody",
        nobody,
        lambda: objects.get("res.group").write([objects.get("res.group")(group)], {"name": "x"}),
    )

    good = {"party": party, "company": company, "description": "检查", "amount": None, "conversion_probability": 0.5}
    tried("a lead", sales, lambda: lead.create([good]))
    for what, bad in (
        ("a likelihood of 700 %", {"conversion_probability": 7}),
        ("an unknown state", {"state": "'; drop table res_user --"}),
        ("a party that is not there", {"party": 2**31 - 2}),
        ("no company", {"company": None}),
    ):
        tried(what, sales, lambda bad=bad: lead.create([{**good, **bad}]))
    tried(
        "a way to reach nobody",
        sales,
        lambda: objects.get("party.contact_mechanism").create([{"party": party, "type": "x"}]),
    )

    word = f"aB3-{secrets.token_hex(12)}"
    users.write([users(sales)], {"password": word})
    users.write([users(sales)], {"password_temporary": False, "password_until": None})
    with transaction.set_user(sales):
        key = sessions.new()

    told = []  # the second factor, which is shown at the first login

    def inside(when):
        try:
            entered = users.get_login(f"sales-{mark}", {"password": word})
        except LoginException as asks:
            told.extend(re.findall(r"otpauth://[^\s)）]+", asks.message))
            # A code is good once; that of the next half minute is good already.
            later = 0 if asks.name == "totp_setup" else 30
            code = TOTP.from_uri(told[0]).generate(time.time() + later).token
            entered = users.get_login(f"sales-{mark}", {"password": word, asks.name: code})
        print(f"login {when}={'done' if entered == sales else 'refused'}")
        print(f"session {when}={'done' if sessions.check(sales, key) else 'refused'}")

    inside("of staff")
    users.write([users(sales)], {"active": False})
    inside("of a leaver")
    raise Enough


with contextlib.suppress(Enough):
    pool.run("crm", work)
