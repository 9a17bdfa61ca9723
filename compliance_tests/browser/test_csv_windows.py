# SPDX-License-Identifier: Apache-2.0
"""A list of customers comes in and goes out again as CSV, in the web client's own windows and in a real browser through the edge.

Runs with `-m browser`. Each run has names of its own, and removes what it imported.
"""

from __future__ import annotations

import csv
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from crm_client import Door
from crm_page import Administrator, CrmPage, browser_page
from csv_windows import CsvWindows
from edge_log import alarms
from testinfra.host import Host

from jinku.places import Places

pytestmark = pytest.mark.browser
DATABASE = "crm"
PARTY = "party.party"
FIELDS = ["name", "code"]
ROWS = 2000
AT_ONCE = 500  # records that one call deletes
#: As companies write themselves; commas and quotes are what a CSV file has to quote, the last has signs of four bytes.
NAMES = (
    "北京云杉科技有限公司",
    "上海“金桥”贸易（集团）",
    '广州"南方, 物流"股份',
    "O'Brien 与合伙人; 深圳",
    "王䶮 𠮷野家 成都",
)


def customers(mark: str) -> list[list[str]]:
    """The rows of the list: name and code, both of this run only."""
    return [[f"{NAMES[number % len(NAMES)]} {mark} {number:04d}", f"{mark}{number:05d}"] for number in range(ROWS)]


def written(rows: list[list[str]], to: Path) -> Path:
    """Write the rows as a CSV file in UTF-8 whose first line names the fields."""
    with to.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([FIELDS, *rows])
    return to


def remove(crm: CrmPage, mark: str) -> None:
    """Delete all parties of this run."""
    made = crm.call(f"model.{PARTY}.search", [["code", "like", f"{mark}%"]], 0, None, None, {})
    for start in range(0, len(made), AT_ONCE):
        crm.call(f"model.{PARTY}.delete", made[start : start + AT_ONCE], {})


def test_a_list_of_customers_comes_in_and_goes_out_as_csv(
    door: Door, administrator: Administrator, edge: Host, tmp_path: Path, places: Places, observe: Callable[..., None]
) -> None:
    """Import 2,000 parties with Chinese names and export them: the same rows come back, and no rule of the edge says a word."""
    problems: list[str] = []
    mark = secrets.token_hex(4)
    rows = customers(mark)
    came_back = tmp_path / "客户.csv"
    began = time.time()
    with browser_page(door, problems, places.reports / "browser" / "failure.png") as page:
        crm = CrmPage(page, door, DATABASE, administrator.authenticator)
        crm.login(administrator.login, administrator.answer)
        crm.open(PARTY)
        windows = CsvWindows(crm)
        try:
            opened = time.time()
            assert windows.bring_in(written(rows, tmp_path / "名单.csv")) == (FIELDS, ROWS)
            imported = time.time()
            crm.search(mark)
            assert windows.take_out(FIELDS, came_back) == ROWS
            exported_by = time.time()
        finally:
            remove(crm, mark)
    with came_back.open(encoding="utf-8", newline="") as stream:
        _titles, *exported = csv.reader(stream)  # their words are those of the person's language
    told = alarms(edge, door, began)
    took = f"in {imported - opened:.0f} s, out {exported_by - imported:.0f} s, all {time.time() - began:.0f} s"
    observe("edge", f"Chromium: CSV of {ROWS} parties: {took}", "\n".join([*told, *problems]) or "no line")
    assert sorted(exported) == sorted(rows)
    assert not problems, "the edge refused or the browser blocked: " + "; ".join(problems)
    assert not told, f"false alarms: {told[:5]}"
