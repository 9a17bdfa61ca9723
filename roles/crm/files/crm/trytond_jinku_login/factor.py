# SPDX-License-Identifier: GPL-3.0-or-later
"""The second factor of people: a time-based one-time code (RFC 6238), as every authenticator app computes it.

The secret of a person is kept nowhere here. It is derived, whenever it is needed, from a key that the vault's agent brings to the CRM
host and from what the database holds for that person (RFC 4226, 7.5, deterministic generation): a copy of the database gives no code
away. It is shown at a login with the right password, until the first code of it has come; never again.

Settings: [jinku_login] factor_key, the file with that key; [password] reset_timeout, for how many seconds a person may enrol after an
administrator has let them.
"""

import datetime as dt
import hmac
import logging
import secrets
from pathlib import Path

from passlib.exc import TokenError
from passlib.totp import TOTP
from sql import Literal, Null
from sql.functions import CurrentTimestamp
from trytond import backend
from trytond.config import config
from trytond.exceptions import LoginException
from trytond.i18n import gettext
from trytond.model import ModelSQL, fields
from trytond.pool import Pool
from trytond.transaction import Transaction

__all__ = ["Factor"]

logger = logging.getLogger(__name__)

_ISSUER = "Jinku CRM"
_PERIOD_S = 30
_SECRET_BYTES = 20  # of HMAC-SHA-1, which is what apps compute
_KEY_BYTES = 32


def _now() -> dt.datetime:
    """The time as Tryton keeps it: without a zone; the service runs in UTC."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def _key() -> bytes:
    """The key from the vault, read at each login, so that nobody has to be restarted. Raises OSError and ValueError: then nobody gets in."""
    key = bytes.fromhex(Path(config.get("jinku_login", "factor_key")).read_text(encoding="ascii").strip())
    if len(key) < _KEY_BYTES:
        raise ValueError("the key of the second factors is too short")
    return key


class Factor(ModelSQL):
    """What is kept of a person's second factor. Beside res.user, for a login writes here and must not lock a user.

    No person and no RPC has a use for it, so none is offered.
    """

    __name__ = "res.user.factor"

    user = fields.Many2One("res.user", "User", required=True, ondelete="CASCADE")
    nonce = fields.Char("Nonce", strip=False, help="Made anew for each secret.")
    last_step = fields.Integer("Last Time Step", help="Of the code that was taken last; empty before the first one.")
    until = fields.Timestamp("May Enrol Until")

    @classmethod
    def __setup__(cls):
        """Nothing of it answers from outside."""
        super().__setup__()
        cls.__rpc__ = {}

    @classmethod
    def __register__(cls, module_name):
        """Whoever was there before there was a second factor may enrol from now on, as somebody new may."""
        migrated = not backend.TableHandler.table_exist(cls._table)
        super().__register__(module_name)
        if migrated:
            table, user = cls.__table__(), Pool().get("res.user").__table__()
            until = _now() + dt.timedelta(seconds=config.getint("password", "reset_timeout"))
            people = user.select(user.id, Literal(until), Literal(0), CurrentTimestamp(), where=user.active)
            columns = [table.user, table.until, table.create_uid, table.create_date]
            Transaction().connection.cursor().execute(*table.insert(columns, people))

    @classmethod
    def enrolled(cls, users):
        """Which of the users have a second factor: a set of ids."""
        with Transaction().set_context(_check_access=False):
            found = cls.search([("user", "in", [user.id for user in users]), ("last_step", "!=", None)])
        return {factor.user.id for factor in found}

    @classmethod
    def open(cls, users):
        """Let the users enrol for a time, those of them who have not."""
        until = _now() + dt.timedelta(seconds=config.getint("password", "reset_timeout"))
        with Transaction().set_context(_check_access=False):
            known = cls.search([("user", "in", [user.id for user in users])])
            cls.write([one for one in known if one.last_step is None], {"until": until, "nonce": None})
            have = {one.user.id for one in known}
            cls.create([{"user": user.id, "until": until} for user in users if user.id not in have])

    @classmethod
    def forget(cls, users):
        """Forget the users' second factors; they may enrol anew for a time."""
        with Transaction().set_context(_check_access=False):
            cls.delete(cls.search([("user", "in", [user.id for user in users])]))
        cls.open(users)

    @classmethod
    def shown(cls, user, parameters):
        """Whether the parameters of a login bring a code of the user's that is good now and was never taken.

        Raises LoginException to ask for it; only after the right password may this be called. A code that is taken is written down in
        the same transaction; of two workers that see the same one, the database lets one commit, and Tryton asks again for the other.
        """
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(table.nonce, table.last_step, table.until, where=table.user == user.id))
        nonce, last_step, until = cursor.fetchone() or (None, None, None)
        if last_step is None and (until is None or until < _now()):
            logger.error("user %s has no second factor, and may not enrol any more", user.id)
            return False
        if nonce is None:
            nonce = secrets.token_hex(16)
            cursor.execute(*table.update([table.nonce], [nonce], where=table.user == user.id))
        totp = cls._totp(user, nonce)
        question = "totp_setup" if last_step is None else "totp_code"
        if question not in parameters:
            raise LoginException(question, cls._words(user, totp, question), type="char")
        try:
            step = totp.match(str(parameters[question]), window=_PERIOD_S, last_counter=last_step).counter
        except (TokenError, TypeError) as error:  # malformed, wrong, or used
            logger.error("second factor of user %s refused: %s", user.id, type(error).__name__)  # noqa: TRY400  no trace of it
            return False
        unused = (table.last_step == Null) | (table.last_step < step)
        cursor.execute(*table.update([table.last_step], [step], where=(table.user == user.id) & unused))
        if cursor.rowcount != 1:
            return False
        if last_step is None:
            logger.info("user %s has enrolled a second factor", user.id)
        return True

    @classmethod
    def _totp(cls, user, nonce):
        key = hmac.digest(_key(), f"totp {user.id} {nonce}".encode(), "sha256")[:_SECRET_BYTES]
        return TOTP(key=key, format="raw", digits=6, period=_PERIOD_S, alg="sha1")

    @classmethod
    def _words(cls, user, totp, question):
        """What the person is told, in their language; the secret only when they enrol."""
        if question == "totp_code":
            return gettext("jinku_login.msg_factor_code")
        uri = totp.to_uri(label=user.login.replace(":", "_"), issuer=_ISSUER)
        return gettext("jinku_login.msg_factor_setup", key=totp.pretty_key(sep=" "), uri=uri)
