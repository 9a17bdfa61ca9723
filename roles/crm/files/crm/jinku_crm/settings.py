# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role wants of this CRM: /etc/jinku/crm/setup.json."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

CONFIGURATION = "/etc/jinku/crm/trytond.conf"
SETUP = "/etc/jinku/crm/setup.json"


@dataclass(frozen=True)
class Settings:
    """``languages``: codes, the first is the administrator's; ``versions``: what the modules' data depends on, as one text."""

    database: str
    modules: tuple[str, ...]
    languages: tuple[str, ...]
    company: str
    timezone: str
    domain: str
    demo_data: bool

    @classmethod
    def load(cls, path: str = SETUP) -> "Settings":
        """Read the file. Raises OSError, KeyError or ValueError when it is not what the role ships."""
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(
            database=raw["database"],
            modules=tuple(raw["modules"]),
            languages=tuple(raw["languages"]),
            company=raw["company"],
            timezone=raw["timezone"],
            domain=raw["domain"],
            demo_data=bool(raw["demo_data"]),
        )


def use_tryton_configuration(database: str) -> None:
    """Point Tryton at our configuration. Before the first import of trytond, which reads it then.

    TRYTOND_DATABASE_NAMES keeps the module list from being loaded twice at once, which drops the pool (KeyError of the database's name).
    """
    os.environ.setdefault("TRYTOND_CONFIG", CONFIGURATION)
    os.environ.setdefault("TRYTOND_DATABASE_NAMES", database)
    if not Path(os.environ["TRYTOND_CONFIG"]).is_file():
        raise SystemExit(f"{os.environ['TRYTOND_CONFIG']}: missing; the role crm ships it")
