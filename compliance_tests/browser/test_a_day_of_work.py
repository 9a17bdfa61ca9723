# SPDX-License-Identifier: Apache-2.0
"""A day of real work, call by call as the web client makes it: nothing of it may meet a rule of the edge.

Runs with `-m browser`. Texts are those of ordinary_texts.py, which look like attacks here and there. Each run has names of its own, and
removes what it imported.
"""

from __future__ import annotations

import csv
import io
import secrets
import time
from collections.abc import Callable, Iterator

import pytest
from crm_client import Crm, Door, RefusedError
from crm_page import Administrator, CrmPage, browser_page
from edge_log import alarms
from known_attacks import ATTACKS
from ordinary_texts import TEXTS
from testinfra.host import Host

from jinku.places import Places

pytestmark = pytest.mark.browser
DATABASE = "crm"
ROWS = 2000
FILE = 20 * 1024 * 1024  # bytes
LONG_NOTE = "客户来电，要求尽快报价；下周三前回复。\n" * 600  # 34 KiB in UTF-8
ATTACK = ATTACKS["command in backticks"]
FIELDS = ["name", "code"]


@pytest.fixture
def crm(door: Door, administrator: Administrator, places: Places) -> Iterator[Crm]:
    """The administrator's session; a browser answers the questions of the first login, if this is it."""
    if administrator.first_time:
        with browser_page(door, [], places.reports / "browser" / "failure.png") as page:
            CrmPage(page, door, DATABASE, administrator.authenticator).login(administrator.login, administrator.answer)
        administrator = Administrator(places)
    client = Crm(door, DATABASE, administrator.authenticator)
    client.login(administrator.login, administrator.answer("password"))
    yield client
    client.logout()


def line(text: str) -> str:
    """The text as a field of one line takes it: the CRM refuses line breaks there."""
    return " ".join(text.split())[:80]


def at_work(crm: Crm, context: dict[str, object], mark: str, parties: list[int]) -> None:
    """Create parties, addresses, leads and notes with every text, edit and search them; `parties` receives what was made."""
    for number, text in enumerate((*TEXTS, LONG_NOTE)):
        head = line(text)
        values = {
            "name": f"{head} {mark}",
            "code": f"{mark}-{number}",
            "addresses": [["create", [{"street": text[:1000], "city": "北京", "postal_code": "100022"}]]],
            "contact_mechanisms": [["create", [{"type": "other", "value": head, "comment": text}]]],
        }
        (party,) = crm.call("model.party.party.create", [values], context)
        parties.append(party)
        crm.call("model.party.party.write", [party], {"name": f"{head}（{mark}）有限公司"}, context)
        crm.call("model.ir.note.create", [{"resource": f"party.party,{party}", "message": text}], context)
        wanted = ["OR", ["rec_name", "ilike", f"%{head}%"], ["code", "=", head]]
        crm.call("model.party.party.search_read", wanted, 0, 100, None, ["rec_name"], context)
    lead = {"party": parties[0], "description": line(TEXTS[0]), "comment": "\n".join(TEXTS)}
    leads = crm.call("model.sale.opportunity.create", [lead], context)
    crm.call("model.sale.opportunity.delete", leads, context)


def sheet(mark: str) -> list[list[str]]:
    """2,000 rows as the web client's CSV reader hands them on: every cell a text."""
    text = io.StringIO()
    csv.writer(text).writerows([f"{line(TEXTS[n % len(TEXTS)])} {n:04d}", f"{mark}{n:05d}"] for n in range(ROWS))
    return list(csv.reader(io.StringIO(text.getvalue(), newline="")))


def test_a_day_of_work_meets_no_rule(door: Door, crm: Crm, edge: Host, observe: Callable[..., None]) -> None:
    """Create, edit, search, import and export 2,000 parties, attach 20 MiB: no line of the rules; one attack: a line."""
    mark = secrets.token_hex(4)
    began = time.time()
    context = {**crm.call("model.res.user.get_preferences", True, {}), "language": "zh_CN"}
    made: list[int] = []
    try:
        at_work(crm, context, mark, made)
        # as Sao.Window.Import and Sao.Window.Export write them (tryton-sao 7.0)
        assert crm.call("model.party.party.import_data", FIELDS, sheet(mark), {}) == ROWS
        found = crm.call("model.party.party.search", [["code", "like", f"{mark}_____"]], 0, ROWS, None, context)
        made += found
        listed = [["code", "like", f"{mark}%"]]
        by_domain = crm.call("model.party.party.export_data_domain", listed, FIELDS, 0, None, None, True, context)
        selected = crm.call("model.party.party.export_data", found, FIELDS, True, context)
        assert len(found) == ROWS
        assert len(selected) == ROWS + 1  # with the header
        assert len(by_domain) == len(made) + 1
        crm.call("model.party.party.read", found[:1000], ["rec_name", "code"], context)

        file = {"name": "扫描件（盖章）.pdf", "type": "data", "resource": f"party.party,{made[0]}"}
        content = secrets.token_bytes(FILE)
        files = crm.call(
            "model.ir.attachment.create", [{**file, "description": "\n".join(TEXTS), "data": content}], context
        )
        (kept,) = crm.call("model.ir.attachment.read", files, ["data"], context)
        assert kept["data"] == content
        crm.call("model.ir.attachment.delete", files, context)
    finally:
        for start in range(0, len(made), 500):
            crm.call("model.party.party.delete", made[start : start + 500], context)
    told = alarms(edge, door, began)
    observe(
        "edge",
        f"a day of work, {time.time() - began:.0f} s, {ROWS} parties, {FILE} bytes",
        "\n".join(told) or "no line",
    )
    assert not told, f"false alarms: {told[:5]}"

    sent = time.time()
    with pytest.raises(RefusedError) as refused:
        crm.call("model.party.party.search", [["name", "=", ATTACK]], 0, 1, None, context)
    assert refused.value.status == 403
    assert alarms(edge, door, sent), "an attack leaves no line, so their absence proves nothing"
