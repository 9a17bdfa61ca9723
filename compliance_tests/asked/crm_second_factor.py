# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a CRM host as the application's account: the second factor of a login, tried by the application's own code.

Everything happens in one transaction, which is rolled back at the end. Prints lines ``<what>=<what came of it>``: ``in``, ``refused``,
``asks for <name>``, or the kind of an error.
"""

import contextlib
import datetime as dt
import os
import re
import secrets
import sys
import time
from unittest import mock

sys.path.insert(0, "/usr/lib/jinku/crm")
os.environ["TRYTOND_CONFIG"] = "/etc/jinku/crm/trytond.conf"  # read by the imports below
import psycopg2
from jinku_crm import pool
from passlib.totp import TOTP

PERIOD = 30


class Enough(Exception):  # noqa: N818 - no error: the way out of the transaction
    """Ends the transaction without a trace."""


def no_texts(objects, login, right) -> None:  # type: ignore[no-untyped-def]
    """Logins with something that is no text, or none that a database takes: whether each ends as a wrong one does.

    ``right``: answers that would open a session. What a try leaves is taken back.
    """
    from trytond.exceptions import LoginException, TrytonException
    from trytond.transaction import Transaction

    transaction = Transaction()
    cursor = transaction.connection.cursor()
    users, attempts = objects.get("res.user"), objects.get("res.user.login.attempt")

    def counted(what, name, answers):
        cursor.execute("SAVEPOINT counted")
        cursor.execute("SELECT max(id) FROM res_user_login_attempt")
        last = cursor.fetchone()[0] or 0
        try:
            said = "in" if users.get_login(name, answers) else "refused"
            said += " and counted" if attempts.search([("id", ">", last)]) else ", not counted"
        except psycopg2.OperationalError:  # as below
            raise
        except (LoginException, TrytonException, psycopg2.Error, TypeError, ValueError, AttributeError) as error:
            said = type(error).__name__
        cursor.execute("ROLLBACK TO SAVEPOINT counted")
        transaction.cache.clear()
        transaction._atexit.clear()  # noqa: SLF001 - nobody waits for the sleep after a failure
        print(f"{what}={said}")

    odd = {"a number": 1, "nothing": None, "a list": ["x"], "an object": {}, "half a character": "\ud800"}
    # Names that are no text share one count, and what others have sent may have locked it.
    with mock.patch.object(attempts, "count", return_value=0):
        for kind, answer in {**odd, "a zero byte": "x\0"}.items():
            counted(f"{kind} for a login", answer, right)
        for kind, answer in {"a wrong text": "x", **odd, "a very long text": "x" * 5000}.items():
            counted(f"{kind} for a password", login, {**right, "password": answer})
        counted("a list for a code", login, {**right, "totp_code": ["x"]})
        counted("nothing for all answers", login, None)
        counted("a list for all answers", login, ["x"])


def work(objects) -> None:  # type: ignore[no-untyped-def]  # noqa: PLR0915 - Tryton's pool has no types; one transaction, one text
    """Make a person, try, and tell."""
    from trytond.exceptions import LoginException, TrytonException
    from trytond.res.user import CRYPT_CONTEXT
    from trytond.transaction import Transaction

    # Two dozen slow hashes would take most of the time here. How passwords are kept is judged elsewhere, by those that are kept.
    CRYPT_CONTEXT.load({"schemes": ["pbkdf2_sha512"], "pbkdf2_sha512__rounds": 1})
    transaction = Transaction()
    data, users, factors = (objects.get(name) for name in ("ir.model.data", "res.user", "res.user.factor"))
    # A login removes old attempts of everybody, and who holds them until the end here would keep every other login waiting.
    objects.get("res.user.login.attempt").delay = lambda: dt.datetime(1970, 1, 1)  # noqa: DTZ001 - as Tryton keeps times
    login, word, told = f"factor-{secrets.token_hex(6)}", f"aB3-{secrets.token_hex(12)}", ""
    person = users.create([{"login": login}])[0]
    users.write([person], {"password": word})
    users.write([person], {"password_temporary": False, "password_until": None})

    def tried(what, **answers):
        nonlocal told
        try:
            said = "in" if users.get_login(login, {"password": word, **answers}) == person.id else "refused"
        except LoginException as asks:
            said, told = f"asks for {asks.name}", asks.message
        except TrytonException as error:
            said = type(error).__name__
        transaction._atexit.clear()  # noqa: SLF001 - nobody waits for the sleep after a failure
        print(f"{what}={said}")

    def code(steps=0):
        return totp.generate(time.time() + steps * PERIOD).token

    tried("password alone, at first")
    shown = re.search(r"otpauth://[^\s)）]+", told)
    first = shown[0] if shown else TOTP.new().to_uri(label="nothing", issuer="was shown")
    totp = TOTP.from_uri(first)
    wrong = next(one for one in ("000000", "111111", "222222", "333333") if one not in map(code, range(-2, 3)))
    tried("a wrong code at enrolment", totp_setup=wrong)
    if time.time() % PERIOD > PERIOD - 4:  # or the half minute ends between two tries
        time.sleep(4)
    tried("the first code", totp_setup=code())
    tried("password alone")
    print(f"the secret again={'shown' if 'otpauth' in told else 'kept'}")
    tried("the same code again", totp_code=code())
    tried("the same code as one of the enrolment", totp_setup=code())
    tried("an older code", totp_code=code(-1))
    tried("a code of later", totp_code=code(3))
    tried("a code and a wrong password", totp_code=code(1), password=word[::-1])
    tried("a code and no password", totp_code=code(1), password="")

    no_texts(objects, login, {"password": word, "totp_code": code(1)})
    tried("the next code", totp_code=code(1))
    for _ in range(7):
        tried("many wrong codes", totp_code=wrong)
    objects.get("res.user.login.attempt").remove(login)

    def as_somebody(what, do, *groups):
        made = {"login": f"other-{secrets.token_hex(6)}", "groups": [("add", [data.get_id(*one) for one in groups])]}
        other = users.create([made])[0].id
        try:
            with transaction.set_user(other), transaction.set_context(_check_access=True):
                said = do()
        except psycopg2.OperationalError:  # of the moment, and says nothing about rights: all of it is done again
            raise
        except (TrytonException, psycopg2.Error) as error:
            said = type(error).__name__
        print(f"{what}={said}")

    admin = ("res", "group_admin")
    secret, names = totp.base32_key, sorted(users._fields.keys() - {"avatar", "password_hash", "password_reset"})
    as_somebody("what an administrator reads", lambda: secret in repr(users.read([person.id], names)), admin)
    as_somebody("the record of it by an administrator", lambda: factors.search([]) and "read", admin)
    print(f"methods from outside={len(factors.__rpc__)}")
    cursor = transaction.connection.cursor()
    cursor.execute("SELECT f::text FROM res_user_factor f WHERE f.user = %s", (person.id,))
    (kept,) = cursor.fetchone()
    print(
        f"the database={'gives it away' if secret in kept or totp.hex_key.lower() in kept.lower() else 'keeps no secret'}"
    )

    sessions, notes = objects.get("ir.session"), objects.get("ir.note")
    with transaction.set_user(person.id):
        key = sessions.new()
    (session,) = sessions.search([("key", "=", key)])

    def by_a_note(record, name, secret):
        (note,) = notes.create([{"resource": str(record), "message": "x"}])
        return "read" if secret in repr(notes.read([note.id], [f"resource.{name}"])) else "kept"

    as_somebody("a session through a note by anybody", lambda: by_a_note(session, "key", key))
    as_somebody("sessions by anybody", lambda: sessions.search([]) and "read")
    as_somebody("sessions by an administrator", lambda: sessions.search([]) and "read", admin)

    wizards = objects.get("ir.session.wizard")
    typed = {"data": f'{{"typed": "{word}"}}'}
    with transaction.set_user(person.id):
        (wizard,) = wizards.create([typed])
    as_somebody("an own wizard through a note by anybody", lambda: by_a_note(*wizards.create([typed]), "data", word))
    for who, groups in (("anybody", ()), ("an administrator", (admin,))):
        as_somebody(f"a wizard through a note by {who}", lambda: by_a_note(wizard, "data", word), *groups)
        as_somebody(f"a wizard by {who}", lambda: wizards.read([wizard.id], ["data"]) and "read", *groups)
        as_somebody(f"wizards by {who}", lambda: str(len(wizards.search([]))), *groups)

    for what in ("res.user.device", "res.user.login.attempt"):
        as_somebody(f"{what} by anybody", lambda what=what: objects.get(what).search([]) or "read")
    for what in ("password_hash", "password_reset"):
        as_somebody(f"{what} by anybody", lambda what=what: users.read([person.id], [what]) and "read")
        as_somebody(
            f"{what} searched by anybody", lambda what=what: users.search([(what, "!=", None)]) is not None and "found"
        )

    as_somebody("reset by anybody", lambda: users.reset_second_factor([person]) and "done")
    as_somebody(
        "reset by an administrator of oneself",
        lambda: users.reset_second_factor([person, users(transaction.user)]) or "done",
        admin,
    )
    tried("password alone, before the reset")
    as_somebody("reset by an administrator", lambda: users.reset_second_factor([person]) or "done", admin)
    tried("password alone, after the reset")
    print(f"the secret after the reset={'the old one' if first in told else 'another'}")
    factors.write(factors.search([("user", "=", person.id)]), {"until": "2000-01-01 00:00:00"})
    tried("an enrolment that comes too late")
    raise Enough


with contextlib.suppress(Enough):
    pool.run("crm", work)
