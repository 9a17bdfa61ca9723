# SPDX-License-Identifier: GPL-3.0-or-later
"""A Tryton module: how people log in. See user.py, factor.py, attempt.py and session.py."""

from trytond.pool import Pool

from . import attempt, factor, session, user

__all__ = ["register"]


def register() -> None:
    """Tell Tryton's pool of the classes that this module extends."""
    Pool.register(
        attempt.LoginAttempt,
        factor.Factor,
        session.Session,
        session.UserDevice,
        session.Rule,
        user.User,
        module="jinku_login",
        type_="model",
    )
