# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions end when nobody uses them: Tryton alone asks for the password again for a few calls only.

Their keys, the cookies of devices and what others type into wizards are nobody's to read (user.xml): what answers no RPC of its own is
read through a reference, such as a note's, all the same. So Tryton's own work with them goes on without that check.
"""

from trytond.pool import PoolMeta
from trytond.transaction import Transaction, without_check_access

__all__ = ["Rule", "Session", "UserDevice"]


class Session(metaclass=PoolMeta):
    """The session of a person, ended after `[session] timeout` seconds without a call."""

    __name__ = "ir.session"

    @classmethod
    def check(cls, user, key, domain=None):
        """As Tryton's: True for a valid session, False for one that has ended, None for one that is unknown."""
        found = super().check(user, key, domain=domain)
        if found and not cls.check_timeout(user, key, domain=domain):
            return False
        return found

    @classmethod
    def clear(cls, users, domain=None):
        """As Tryton's."""
        with without_check_access():
            super().clear(users, domain=domain)


class UserDevice(metaclass=PoolMeta):
    """Cookies of browsers that somebody has logged in with."""

    __name__ = "res.user.device"

    @classmethod
    def renew(cls, current_cookie):
        """As Tryton's."""
        with without_check_access():
            return super().renew(current_cookie)

    @classmethod
    def clear(cls, logins):
        """As Tryton's."""
        with without_check_access():
            super().clear(logins)


class Rule(metaclass=PoolMeta):
    """A rule on records of `ir.session.wizard` knows who asks; Tryton's own rules know groups and companies only."""

    __name__ = "ir.rule"

    @classmethod
    def _get_context(cls, model_name):
        context = super()._get_context(model_name)
        if model_name == "ir.session.wizard":
            context["user_id"] = Transaction().user
        return context

    @classmethod
    def _get_cache_key(cls, model_name):
        key = super()._get_cache_key(model_name)
        return (*key, Transaction().user) if model_name == "ir.session.wizard" else key
