# SPDX-License-Identifier: GPL-3.0-or-later
"""A Tryton module: erasing a party leaves nothing of it. See party.py."""

from trytond.pool import Pool

from . import party

__all__ = ["register"]


def register() -> None:
    """Tell Tryton's pool of the class that this module extends."""
    Pool.register(party.Erase, module="jinku_erase", type_="wizard")
