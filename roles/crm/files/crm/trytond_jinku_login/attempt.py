# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever guesses from an address locks that address, not the people behind it who have logged in before."""

from trytond.pool import PoolMeta
from trytond.transaction import Transaction

__all__ = ["LoginAttempt"]


class LoginAttempt(metaclass=PoolMeta):
    """Failed logins: a device that its person has logged in with keeps a count of its own (Tryton's device cookie)."""

    __name__ = "res.user.login.attempt"

    @classmethod
    def count_ip(cls):
        """Failures from the address of the request; a known device does not answer for what its neighbours do."""
        return 0 if Transaction().context.get("jinku_known_device") else super().count_ip()
