# SPDX-License-Identifier: Apache-2.0
"""Tables: drawn on a terminal, tab-separated otherwise, so that `cut` and `awk` can read them."""

from collections.abc import Iterable, Sequence

import click
from rich.console import Console
from rich.table import Table


def _text(cell: object) -> str:
    if isinstance(cell, list | tuple):
        return ",".join(map(str, cell)) or "-"
    return "-" if cell is None or cell == "" else str(cell)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their columns; a list becomes comma-separated, nothing becomes ``-``."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        click.echo("\t".join(columns))
        for row in rows:
            click.echo("\t".join(map(_text, row)))
        return
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    console.print(table)
