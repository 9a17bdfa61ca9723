# SPDX-License-Identifier: GPL-3.0-or-later
"""Tryton 7.0 erases a telephone number and keeps its compact form, which is the number; likewise the name in an address."""

from trytond.pool import Pool, PoolMeta

__all__ = ["Erase"]


class Erase(metaclass=PoolMeta):
    """The wizard that erases a party."""

    __name__ = "party.erase"

    def to_erase(self, party_id):
        """As Tryton's, and the columns that it forgets: (model, domain, with its notes and files, columns, values)."""
        pool = Pool()
        forgotten = {"party.contact_mechanism": ["value_compact"], "party.address": ["party_name"]}
        return super().to_erase(party_id) + [
            (pool.get(name), [("party", "=", party_id)], False, columns, [None] * len(columns))
            for name, columns in forgotten.items()
        ]
