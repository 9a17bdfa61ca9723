# SPDX-License-Identifier: GPL-3.0-or-later
"""A password that somebody else chose opens one door: the one to choosing one's own.

Tryton asks for more by raising LoginException(name, message, type): every client then asks the person and logs in again with the
answer under that name. So no session exists before the new password is set and the second factor (factor.py) is shown, and no client
needs a change.

Settings, in seconds: [password] reset_timeout, how long a temporary password is good; [jinku_login] password_max_age, when an own
password must be replaced (0: never).
"""

import datetime as dt
import logging
import time

from trytond.config import config
from trytond.exceptions import LoginException
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.model.exceptions import AccessError
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.res.user import PasswordError
from trytond.transaction import Transaction, without_check_access

__all__ = ["User"]

logger = logging.getLogger(__name__)

_UNCHANGED = "x" * 10  # what clients send for a password that was not touched
_ROUNDS = 10
_KINDS = (str.islower, str.isupper, str.isdigit)
_KINDS_WANTED = 3
_LONGEST_SLEEP_S = 1
_LONGEST_ANSWER = 4096  # characters; the library that checks passwords (passlib) ends in an error for more


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


def _text(answer):
    """What came in a login, if it is text that a database and a check of passwords take; else an empty text.

    Numbers, lists, a zero byte and half a character end in errors of whoever meets them, and the attempt is not counted. An empty text is
    no password and no code: it is refused, and counted, as a wrong one is.
    """
    if not isinstance(answer, str) or len(answer) > _LONGEST_ANSWER or "\0" in answer:
        return ""
    try:
        answer.encode()
    except UnicodeEncodeError:
        return ""
    return answer


class User(metaclass=PoolMeta):
    """Remembers who chose a password and until when it is good."""

    __name__ = "res.user"

    password_temporary = fields.Boolean(
        "Temporary Password", readonly=True, help="The person has not chosen the password."
    )
    password_until = fields.Timestamp("Password Good Until", readonly=True)
    second_factor = fields.Function(fields.Boolean("One-time Code Set Up"), "get_second_factor")

    @classmethod
    def __setup__(cls):
        """Whoever may write users may have one of them set up the second factor again."""
        super().__setup__()
        cls._buttons.update(
            {"reset_second_factor": {"invisible": ~Eval("second_factor"), "depends": ["second_factor"]}}
        )

    @classmethod
    def get_sessions(cls, users, name):
        """How many each has; the sessions themselves are nobody's to read."""
        with without_check_access():
            return super().get_sessions(users, name)

    @classmethod
    def get_second_factor(cls, users, _name):
        """Whether each has set up a second factor."""
        enrolled = Pool().get("res.user.factor").enrolled(users)
        return {user.id: user.id in enrolled for user in users}

    @classmethod
    @ModelView.button
    def reset_second_factor(cls, users):
        """Forget the second factor of the users, and log them out: it may be in other hands.

        Raises AccessError for one's own: whoever has got hold of a session only would set up another one.
        """
        if Transaction().user in {user.id for user in users}:
            raise AccessError(gettext("jinku_login.msg_factor_own"))
        pool = Pool()
        pool.get("res.user.factor").forget(users)
        pool.get("ir.session").clear(users)
        pool.get("res.user.device").clear([user.login for user in users])
        for user in users:
            logger.warning("second factor of user %s was reset by user %s", user.id, Transaction().user)

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
            if not own:
                Pool().get("res.user.factor").open([user])

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
        """As Tryton's, for whom the second factor was shown in this very login, whatever `[session] authentications` says."""
        login = _text(login)
        parameters = (
            {name: _text(answer) for name, answer in parameters.items()}
            if isinstance(parameters, dict)
            else {"password": ""}
        )
        device = Pool().get("res.user.device").get_valid_cookie(login, parameters.get("device_cookie"))
        transaction = Transaction()
        shown = []
        try:
            with transaction.set_context(jinku_known_device=bool(device), jinku_second_factor=shown):
                user_id = super().get_login(login, parameters)
        finally:
            _sleep_less(transaction)
        if user_id and user_id not in shown:
            logger.error("user %s has shown one factor only", user_id)
            return None
        return user_id

    @classmethod
    def _login_totp(cls, login, parameters):
        """The method `totp` of `[session] authentications`, after `password+`: an own password where there is none, then the second factor.

        A code is good once: so it is asked for last, and the password is set when it was right.
        """
        user_id, password_hash, password_reset = cls._get_login(login)
        if not user_id:
            return None
        user, own = cls(user_id), None
        if "password" in parameters and (
            password_hash or password_reset
        ):  # else known by other means than a password of ours
            temporary = user.password_temporary or not password_hash
            aged = user.password_until is not None and user.password_until < _now()
            if temporary and aged:
                logger.error("temporary password of user %s has expired", user_id)
                return None
            if temporary or aged:
                own = cls._own_password(user, parameters)
                if own is None:
                    return None
        if not Pool().get("res.user.factor").shown(user, parameters):
            return None
        if own is not None:
            with Transaction().set_user(user.id):
                cls.write([user], {"password": own, "password_reset": None, "password_reset_expire": None})
            logger.info("user %s has set an own password", user.id)
        Transaction().context["jinku_second_factor"].append(user_id)
        return user_id

    @classmethod
    def _own_password(cls, user, parameters):
        """The password that the parameters bring, None when there were too many bad ones; raises LoginException for what is still missing.

        Clients keep earlier answers, so each round of question and repetition has names of its own.
        """
        message = gettext(
            "jinku_login.msg_password_new", length=config.getint("password", "length"), kinds=_KINDS_WANTED
        )
        for number in range(1, _ROUNDS + 1):
            name, again = f"new_password_{number}", f"new_password_{number}_again"
            if name not in parameters:
                raise LoginException(name, message, type="password")
            password = parameters[name]
            refusal = cls._refusal(user, password, parameters["password"])
            if refusal:
                message = refusal
                continue
            if again not in parameters:
                raise LoginException(again, gettext("jinku_login.msg_password_again"), type="password")
            if parameters[again] != password:
                message = gettext("jinku_login.msg_password_differs")
                continue
            return password
        return None

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
