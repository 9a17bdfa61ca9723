# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a CRM host as the application's account: the second factor of a login, tried by the application's own code.

Everything happens in one transaction, which is rolled back at the end. Prints lines ``<what>=<what came of it>``: ``in``, ``refused``,
``asks for <name>``, or the kind of an error.
"""

import time
from unittest import mock

from crm_trial import outcome, password_of, person, run, secret_shown
from passlib.totp import TOTP

PERIOD = 30
ADMIN = ("res", "group_admin")
#: What is no text, or none that a database takes.
ODD = {"a number": 1, "nothing": None, "a list": ["x"], "an object": {}, "half a character": "\ud800"}


class Login:
    """Somebody with a password and, once it was shown, an authenticator."""

    def __init__(self, objects):
        self.users = objects.get("res.user")
        self.person = person(objects, "factor")
        self.name, self.word = self.person.login, password_of(self.person)
        self.told, self.first, self.totp = "", "", None

    def tried(self, what, **answers):
        """Log in with the password and ``answers``, and tell; ``told`` is what the CRM says when it asks for more."""
        from trytond.exceptions import LoginException
        from trytond.transaction import Transaction

        def enter():
            try:
                found = self.users.get_login(self.name, {"password": self.word, **answers})
            except LoginException as asks:
                self.told = asks.message
                return f"asks for {asks.name}"
            return "in" if found == self.person.id else "refused"

        print(f"{what}={outcome(enter)}")
        Transaction()._atexit.clear()  # noqa: SLF001 - nobody waits for the sleep after a failure

    def take_the_secret(self):
        """Put the secret that was shown into the authenticator; another one, if none was, so that every code is wrong."""
        self.first = secret_shown(self.told) or TOTP.new().to_uri(label="nothing", issuer="was shown")
        self.totp = TOTP.from_uri(self.first)

    def code(self, steps=0):
        """The code of so many half minutes from now."""
        return self.totp.generate(time.time() + steps * PERIOD).token

    def wrong(self):
        """A code that is not good now nor soon."""
        good = {self.code(step) for step in range(-2, 3)}
        return next(one for one in ("000000", "111111", "222222", "333333", "444444", "555555") if one not in good)


def codes(login):
    """Enrolment, and codes that are right, wrong, used, old or early; guessing at last."""
    login.tried("password alone, at first")
    login.take_the_secret()
    wrong = login.wrong()
    login.tried("a wrong code at enrolment", totp_setup=wrong)
    if time.time() % PERIOD > PERIOD - 4:  # or the half minute ends between two tries
        time.sleep(4)
    login.tried("the first code", totp_setup=login.code())
    login.tried("password alone")
    print(f"the secret again={'shown' if 'otpauth' in login.told else 'kept'}")
    login.tried("the same code again", totp_code=login.code())
    login.tried("the same code as one of the enrolment", totp_setup=login.code())
    login.tried("an older code", totp_code=login.code(-1))
    login.tried("a code of later", totp_code=login.code(3))
    login.tried("a code and a wrong password", totp_code=login.code(1), password=login.word[::-1])
    login.tried("a code and no password", totp_code=login.code(1), password="")


def counted(objects, what, name, answers):
    """Log in, tell what came of it and whether it was counted as a try, and take it back."""
    from trytond.transaction import Transaction

    transaction = Transaction()
    users, attempts = objects.get("res.user"), objects.get("res.user.login.attempt")
    cursor = transaction.connection.cursor()
    cursor.execute("SAVEPOINT counted")
    cursor.execute("SELECT max(id) FROM res_user_login_attempt")
    last = cursor.fetchone()[0] or 0

    def enter():
        said = "in" if users.get_login(name, answers) else "refused"
        return said + (" and counted" if attempts.search([("id", ">", last)]) else ", not counted")

    said = outcome(enter, TypeError, ValueError, AttributeError)
    cursor.execute("ROLLBACK TO SAVEPOINT counted")
    transaction.cache.clear()
    transaction._atexit.clear()  # noqa: SLF001 - nobody waits for the sleep after a failure
    print(f"{what}={said}")


def no_texts(objects, login):
    """Logins with something that is no text, or none that a database takes: whether each ends as a wrong one does."""
    right = {"password": login.word, "totp_code": login.code(1)}  # would open a session
    # Names that are no text share one count, and what others have sent may have locked it.
    with mock.patch.object(objects.get("res.user.login.attempt"), "count", return_value=0):
        for kind, answer in {**ODD, "a zero byte": "x\0"}.items():
            counted(objects, f"{kind} for a login", answer, right)
        for kind, answer in {"a wrong text": "x", **ODD, "a very long text": "x" * 5000}.items():
            counted(objects, f"{kind} for a password", login.name, {**right, "password": answer})
        counted(objects, "a list for a code", login.name, {**right, "totp_code": ["x"]})
        counted(objects, "nothing for all answers", login.name, None)
        counted(objects, "a list for all answers", login.name, ["x"])


def guessing(objects, login):
    """The code that is still good, then wrong ones until the CRM takes no more."""
    wrong, failures = login.wrong(), objects.get("res.user.login.attempt")
    failures.remove(login.name)  # codes() has tried as often as locks a name
    login.tried("the next code", totp_code=login.code(1))
    for _ in range(7):
        login.tried("many wrong codes", totp_code=wrong)
    failures.remove(login.name)


def as_somebody(objects, what, do, *groups):
    """Do something with the rights of a new user, and tell what it returned, or how it was refused."""
    from trytond.transaction import Transaction

    other, transaction = person(objects, "other", *groups).id, Transaction()
    with transaction.set_user(other), transaction.set_context(_check_access=True):
        said = outcome(do)
    print(f"{what}={said}")


def the_secret(objects, login):
    """Whether the secret of the codes can be read: as a user's, as a record, from outside, in the database."""
    from trytond.transaction import Transaction

    factors, secret = objects.get("res.user.factor"), login.totp.base32_key
    names = sorted(login.users._fields.keys() - {"avatar", "password_hash", "password_reset"})
    read = lambda: str(secret in repr(login.users.read([login.person.id], names)))  # noqa: E731
    as_somebody(objects, "what an administrator reads", read, ADMIN)
    as_somebody(objects, "the record of it by an administrator", lambda: factors.search([]) and "read", ADMIN)
    print(f"methods from outside={len(factors.__rpc__)}")
    cursor = Transaction().connection.cursor()
    cursor.execute("SELECT f::text FROM res_user_factor f WHERE f.user = %s", (login.person.id,))
    (kept,) = cursor.fetchone()
    given = secret in kept or login.totp.hex_key.lower() in kept.lower()
    print(f"the database={'gives it away' if given else 'keeps no secret'}")


def by_a_note(objects, record, name, secret):
    """Read a field of a record through a note that refers to it."""
    notes = objects.get("ir.note")
    (note,) = notes.create([{"resource": str(record), "message": "x"}])
    return "read" if secret in repr(notes.read([note.id], [f"resource.{name}"])) else "kept"


def sessions_of_others(objects, login):
    """The key of an open session: through a note, and by asking for sessions."""
    from trytond.transaction import Transaction

    sessions = objects.get("ir.session")
    with Transaction().set_user(login.person.id):
        key = sessions.new()
    (session,) = sessions.search([("key", "=", key)])
    as_somebody(objects, "a session through a note by anybody", lambda: by_a_note(objects, session, "key", key))
    as_somebody(objects, "sessions by anybody", lambda: sessions.search([]) and "read")
    as_somebody(objects, "sessions by an administrator", lambda: sessions.search([]) and "read", ADMIN)


def wizards_of_others(objects, login):
    """What somebody has typed into a wizard: their own, which they may read, and another's."""
    from trytond.transaction import Transaction

    wizards, typed = objects.get("ir.session.wizard"), {"data": f'{{"typed": "{login.word}"}}'}
    with Transaction().set_user(login.person.id):
        (wizard,) = wizards.create([typed])

    def noted(record):
        return by_a_note(objects, record, "data", login.word)

    as_somebody(objects, "an own wizard through a note by anybody", lambda: noted(*wizards.create([typed])))
    for who, groups in (("anybody", ()), ("an administrator", (ADMIN,))):
        as_somebody(objects, f"a wizard through a note by {who}", lambda: noted(wizard), *groups)
        as_somebody(objects, f"a wizard by {who}", lambda: wizards.read([wizard.id], ["data"]) and "read", *groups)
        as_somebody(objects, f"wizards by {who}", lambda: str(len(wizards.search([]))), *groups)


def what_logins_leave(objects, login):
    """Devices, attempts and hashes of passwords, read and searched by anybody."""
    users = login.users
    for what in ("res.user.device", "res.user.login.attempt"):
        as_somebody(objects, f"{what} by anybody", lambda what=what: objects.get(what).search([]) or "read")
    for what in ("password_hash", "password_reset"):
        read = lambda what=what: users.read([login.person.id], [what]) and "read"  # noqa: E731
        found = lambda what=what: users.search([(what, "!=", None)]) is not None and "found"  # noqa: E731
        as_somebody(objects, f"{what} by anybody", read)
        as_somebody(objects, f"{what} searched by anybody", found)


def reset(objects, login):
    """Who lets somebody enrol anew, what they are shown then, and until when."""
    from trytond.transaction import Transaction

    users, somebody = login.users, login.person
    also_oneself = lambda: users.reset_second_factor([somebody, users(Transaction().user)]) or "done"  # noqa: E731
    as_somebody(objects, "reset by anybody", lambda: users.reset_second_factor([somebody]) and "done")
    as_somebody(objects, "reset by an administrator of oneself", also_oneself, ADMIN)
    login.tried("password alone, before the reset")
    as_somebody(objects, "reset by an administrator", lambda: users.reset_second_factor([somebody]) or "done", ADMIN)
    login.tried("password alone, after the reset")
    print(f"the secret after the reset={'the old one' if login.first in login.told else 'another'}")
    factors = objects.get("res.user.factor")
    factors.write(factors.search([("user", "=", somebody.id)]), {"until": "2000-01-01 00:00:00"})
    login.tried("an enrolment that comes too late")


def work(objects):
    """Make a person, try, and tell."""
    from trytond.res.user import CRYPT_CONTEXT

    # Two dozen slow hashes would take most of the time here. How passwords are kept is judged elsewhere, by those that are kept.
    CRYPT_CONTEXT.load({"schemes": ["pbkdf2_sha512"], "pbkdf2_sha512__rounds": 1})
    login = Login(objects)
    codes(login)
    no_texts(objects, login)
    guessing(objects, login)
    for of_others in (the_secret, sessions_of_others, wizards_of_others, what_logins_leave, reset):
        of_others(objects, login)


run(work)
