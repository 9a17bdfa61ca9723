# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a CRM host as the application's account: what users of the CRM may do, tried by the application's own code.

Users and records are made in one transaction, which is rolled back at the end: nothing of it is ever seen by anybody.
Prints lines ``<what>=done`` or ``<what>=<kind of refusal>``.
"""

import secrets
import time

from crm_trial import outcome, password_of, person, run, secret_shown
from passlib.totp import TOTP

ADMIN, SALE, LEADS = ("res", "group_admin"), ("sale", "group_sale"), ("sale_opportunity", "group_opportunity")


def staff(objects, company, name, *groups):
    """A new user who works for the company."""
    user = person(objects, name, *groups)
    user.__class__.write([user], {"companies": [("add", [company])], "company": company})
    return user


def tried(what, user, do):
    """Do something with the user's rights, tell, and take it back."""
    from trytond.transaction import Transaction

    transaction = Transaction()
    cursor = transaction.connection.cursor()
    cursor.execute("SAVEPOINT tried")
    with (
        transaction.set_user(user.id),
        transaction.set_context(user.__class__(user.id).get_preferences(True), _check_access=True),
    ):
        said = outcome(lambda: (do(), "done")[1])
    print(f"{what}={said}")
    cursor.execute("ROLLBACK TO SAVEPOINT tried")
    transaction.cache.clear()


def of_roles(objects, order, sales):
    """Sales, users and groups: by those whose work it is, and by others."""
    users, groups, sale = (objects.get(name) for name in ("res.user", "res.group", "sale.sale"))
    nobody, admin = staff(objects, order["company"], "nobody"), staff(objects, order["company"], "admin", ADMIN)
    group, made = objects.get("ir.model.data").get_id(*ADMIN), f"made-{secrets.token_hex(6)}"
    for who, user in (("sales", sales), ("nobody", nobody), ("admin", admin)):
        tried(f"sale by {who}", user, lambda: sale.create([order]))
    for who, user in (("admin", admin), ("sales", sales)):
        tried(f"user by {who}", user, lambda: users.create([{"login": made}]))
    tried("more rights by sales", sales, lambda: users.write([users(sales.id)], {"groups": [("add", [group])]}))
    tried("group by nobody", nobody, lambda: groups.write([groups(group)], {"name": "x"}))


def of_data(objects, order, sales):
    """Records that cannot be right."""
    lead, way = objects.get("sale.opportunity"), objects.get("party.contact_mechanism")
    good = {**order, "description": "检查", "amount": None, "conversion_probability": 0.5}
    tried("a lead", sales, lambda: lead.create([good]))
    for what, bad in (
        ("a likelihood of 700 %", {"conversion_probability": 7}),
        ("an unknown state", {"state": "'; drop table res_user --"}),
        ("a party that is not there", {"party": 2**31 - 2}),
        ("no company", {"company": None}),
    ):
        tried(what, sales, lambda bad=bad: lead.create([{**good, **bad}]))
    tried("a way to reach nobody", sales, lambda: way.create([{"party": order["party"], "type": "x"}]))


def entered(users, login, word, known):
    """Log in with both factors, and return whose session it would be; ``known`` keeps the secret, which is shown at the first login."""
    from trytond.exceptions import LoginException

    try:
        return users.get_login(login, {"password": word})
    except LoginException as asks:
        known.append(secret_shown(asks.message))
        # A code is good once; that of the next half minute is good already.
        later = 0 if asks.name == "totp_setup" else 30
        code = TOTP.from_uri(known[0]).generate(time.time() + later).token
        return users.get_login(login, {"password": word, asks.name: code})


def of_passwords(sales):
    """Passwords that somebody guesses, and one that nobody does: what the check says that each new one goes through."""
    for what, word in (
        ("a good password", f"aB3-{secrets.token_hex(12)}"),
        ("a short password", "aB3-x9Kq"),
        ("a password of one kind", "qmzlkrtwpvhd"),
        ("a well-known password", "Password@1234"),
        ("the own login as password", f"Zz9-{sales.login}"),
    ):
        said = outcome(lambda word=word: (sales.__class__.validate_password(word, [sales]), "done")[1])
        print(f"{what}={said}")


def of_a_leaver(objects, sales):
    """The login and the open session of somebody, before and after they left."""
    from trytond.transaction import Transaction

    users, sessions, known = objects.get("res.user"), objects.get("ir.session"), []
    login, word = sales.login, password_of(sales)
    with Transaction().set_user(sales.id):
        key = sessions.new()

    def inside(when):
        print(f"login {when}={'done' if entered(users, login, word, known) == sales.id else 'refused'}")
        print(f"session {when}={'done' if sessions.check(sales.id, key) else 'refused'}")

    inside("of staff")
    users.write([users(sales.id)], {"active": False})
    inside("of a leaver")


def work(objects):
    """Make the users, try, and tell."""
    company = objects.get("company.company").search([], limit=1)[0].id
    sales = staff(objects, company, "sales", SALE, LEADS)
    party = objects.get("party.party").create([{"name": f"check {secrets.token_hex(6)}"}])[0].id
    order = {"party": party, "company": company}
    of_roles(objects, order, sales)
    of_data(objects, order, sales)
    of_passwords(sales)
    of_a_leaver(objects, sales)


run(work)
