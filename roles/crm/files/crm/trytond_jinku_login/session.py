# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions end when nobody uses them: Tryton alone asks for the password again for a few calls only."""

from trytond.pool import PoolMeta

__all__ = ["Session"]


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
