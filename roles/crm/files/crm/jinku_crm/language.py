# SPDX-License-Identifier: GPL-3.0-or-later
"""Chinese texts where Tryton has none: upstream's zh_CN leaves most of sales and opportunities in English."""

from pathlib import Path
from typing import Any

import polib

GLOSSARY = Path(__file__).parents[1] / "glossary_zh_CN.po"
MODULES = ("sale", "sale_opportunity")


def fill_in(pool: Any) -> int:
    """Translate what is empty or doubtful in the modules, and nothing else. Returns the number of texts; in a transaction, see pool.run."""
    texts = {entry.msgid: entry.msgstr for entry in polib.pofile(str(GLOSSARY))}
    Translation = pool.get("ir.translation")
    missing = ["OR", ("value", "=", None), ("value", "=", ""), ("fuzzy", "=", True)]
    found = Translation.search([("lang", "=", "zh_CN"), ("module", "in", MODULES), missing])
    changes = [part for row in found if row.src in texts for part in ([row], {"value": texts[row.src], "fuzzy": False})]
    if changes:
        Translation.write(*changes)
    return len(changes) // 2
