# SPDX-License-Identifier: GPL-3.0-or-later
"""A password that somebody else chose opens one door: the one to choosing one's own.

Tryton asks for more by raising LoginException(name, message, type): every client then asks the person and logs in again with the
answer under that name. So no session exists before the new password is set, and no client needs a change.

Settings, in seconds: [password] reset_timeout, how long a temporary password is good; [jinku_login] password_max_age, when an own
password must be replaced (0: never).
"""

import datetime as dt
import logging
import time

from trytond.config import config
from trytond.exceptions import LoginException
from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.res.user import PasswordError
from trytond.transaction import Transaction

__all__ = ["User"]

logger = logging.getLogger(__name__)

_UNCHANGED = "x" * 10  # what clients send for a password that was not touched
_ROUNDS = 10
_KINDS = (str.islower, str.isupper, str.isdigit)
_KINDS_WANTED = 3
_LONGEST_SLEEP_S = 1


def _now() -> dt.datetime:
    """The time as Tryton keeps it: without a zone; the service runs in UTC."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def _sleep_less(transaction):
    """Shorten the sleep that Tryton has set for the end of a failed login: up to 31 s, in a thread that others wait for.

    The count of failures stops a guesser; eight of his logins must not stop everybody.
    """
    transaction._atexit[:] = [  # noqa: SLF001  there is no other way to it
        (job, (min(*words, _LONGEST_SLEEP_S),) if job is time.sleep else words, named)
        for job, words, named in transaction._atexit  # noqa: SLF001
    ]


class User(metaclass=PoolMeta):
    """Remembers who chose a password and until when it is good."""

    __name__ = "res.user"

    password_temporary = fields.Boolean(
        "Temporary Password", readonly=True, help="The person has not chosen the password."
    )
    password_until = fields.Timestamp("Password Good Until", readonly=True)

    @classmethod
    def set_password(cls, users, name, value):
        """Set the password; it is temporary unless the person sets it: administrators and the server itself do not."""
        super().set_password(users, name, value)
        if value == _UNCHANGED:
            return
        for user in users:
            own = user.id == Transaction().user
            seconds = (
                config.getint("jinku_login", "password_max_age", default=0)
                if own
                else config.getint("password", "reset_timeout")
            )
            until = _now() + dt.timedelta(seconds=seconds) if value and seconds else None
            cls.write([user], {"password_temporary": bool(value) and not own, "password_until": until})

    @classmethod
    def validate_password(cls, password, users):
        """Refuse what Tryton refuses, fewer than three kinds of characters, and the person's own name within."""
        super().validate_password(password, users)
        kinds = {
            next((number for number, is_kind in enumerate(_KINDS) if is_kind(letter)), len(_KINDS))
            for letter in password
        }
        if len(kinds) < _KINDS_WANTED:
            raise PasswordError(gettext("jinku_login.msg_password_kinds", kinds=_KINDS_WANTED))
        for user in users:
            login = getattr(user, "login", None) or ""
            if len(login) > 2 and login.lower() in password.lower():
                raise PasswordError(gettext("jinku_login.msg_password_login"))

    @classmethod
    def get_login(cls, login, parameters):
        """As Tryton's, after which a temporary or aged password must be replaced before there is a user to return."""
        device = Pool().get("res.user.device").get_valid_cookie(login, parameters.get("device_cookie"))
        transaction = Transaction()
        try:
            with transaction.set_context(jinku_known_device=bool(device)):
                user_id = super().get_login(login, parameters)
        finally:
            _sleep_less(transaction)
        if not user_id or "password" not in parameters:
            return user_id
        _, password_hash, password_reset = cls._get_login(login)
        if not password_hash and not password_reset:
            return user_id  # known by other means than a password of ours
        user = cls(user_id)
        temporary = user.password_temporary or not password_hash
        aged = user.password_until is not None and user.password_until < _now()
        if temporary and aged:
            logger.error("temporary password of user %s has expired", user_id)
            return None
        if temporary or aged:
            return user_id if cls._replace_password(user, parameters) else None
        return user_id

    @classmethod
    def _replace_password(cls, user, parameters):
        """Set the password that the parameters bring. True when done; raises LoginException for what is still missing.

        Clients keep earlier answers, so each round of question and repetition has names of its own.
        """
        message = gettext(
            "jinku_login.msg_password_new", length=config.getint("password", "length"), kinds=_KINDS_WANTED
        )
        for number in range(1, _ROUNDS + 1):
            name, again = f"new_password_{number}", f"new_password_{number}_again"
            if name not in parameters:
                raise LoginException(name, message, type="password")
            password = parameters[name] or ""
            refusal = cls._refusal(user, password, parameters["password"])
            if refusal:
                message = refusal
                continue
            if again not in parameters:
                raise LoginException(again, gettext("jinku_login.msg_password_again"), type="password")
            if parameters[again] != password:
                message = gettext("jinku_login.msg_password_differs")
                continue
            with Transaction().set_user(user.id):
                cls.write([user], {"password": password, "password_reset": None, "password_reset_expire": None})
            logger.info("user %s has set an own password", user.id)
            return True
        return False

    @classmethod
    def _refusal(cls, user, password, old):
        """Why the password cannot be taken, in the person's language; None when it can."""
        if password == old:
            return gettext("jinku_login.msg_password_same")
        try:
            cls.validate_password(password, [user])
        except PasswordError as error:
            return f"{error.message} {gettext('jinku_login.msg_password_retry')}"
        return None
