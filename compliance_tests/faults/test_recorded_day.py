# SPDX-License-Identifier: Apache-2.0
"""A day of real use, call by call as the web client makes it: nothing of it may meet a rule of the edge. Runs with ``-m fault``."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import pytest
from crm_client import Crm
from testinfra.host import Host

from jinku.evidence.fleet import Fleet
from jinku.model import Topology

Account = Callable[[str], None]

pytestmark = pytest.mark.fault
ROWS = 2000
FILE = 20 * 1024 * 1024  # bytes
SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"
#: What people write: quotes, brackets, percent, arrows, semicolons, code-like words, mail, links, all kinds of punctuation.
NOTES = (
    "客户要求“尽快”报价 <重要>；单价 ¥1,299.00 / 台，折扣 15%（含税）。",
    "Called O'Brien & Sons -- they'll select the best offer, then drop us a mail at 3pm; delete the old one.",
    "1. 合同编号：HT-2026/11#003\n2. 交货期：30 天\n3. 付款：预付 30%，余款见票 60 天 (T/T)",
    "see https://example.cn/offer?id=42&lang=zh#top or mail li.na+crm@example.cn; price > 5 && qty < 100?",
    "Zoë & François: “très bien” – 50 % * 3 = 150 €; C:\\Users\\张三\\合同.docx",
    "会议纪要：① 技术方案 ② 商务条款 ③ 售后…… 择优 select 三家; or 1 家备选 (drop table tent by the door)",
)


def refusals(edge: Host, since: float) -> str:
    """What the rules have refused or warned of since then, a line each."""
    found = edge.run(
        f"journalctl -q -o cat -t apache --since=@{int(since)} | grep -E 'ModSecurity: (Access denied|Warning)|mod_qos' # {since}"
    )
    return str(found.stdout)


def at_work(crm: Crm, context: dict[str, object], mark: str) -> list[int]:
    """Create, edit and search parties, with leads and notes; the parties."""
    parties = []
    for number, note in enumerate(NOTES):
        head = note.splitlines()[0]
        street = {"street": f"北京市朝阳区建国路 {number} 号; 3 层 (东)", "city": "北京", "postal_code": "100022"}
        mail = {"type": "email", "value": f"sales{number}@example.cn", "comment": note}
        values = {
            "name": f"{SURNAMES[number]}氏贸易（{mark}）有限公司 & Co., Ltd.",
            "addresses": [["create", [street]]],
            "contact_mechanisms": [["create", [mail]]],
        }
        (party,) = crm.call("model.party.party.create", [values], context)
        parties.append(party)
        crm.call("model.party.party.write", [party], {"name": f"{values['name']} - {head[:40]}"}, context)
        lead = {"party": party, "description": f"线索：{head}", "comment": note}
        crm.call("model.sale.opportunity.create", [lead], context)
        crm.call("model.ir.note.create", [{"resource": f"party.party,{party}", "message": note}], context)
        wanted = [["rec_name", "ilike", f"%{note[:12]}%"]]
        crm.call("model.party.party.search_read", wanted, 0, 100, None, ["rec_name"], context)
    return parties


def test_a_day_of_real_use_meets_no_rule(
    crm: Crm, account: Account, login: str, password: str, topology: Topology, fleet: Fleet
) -> None:
    """Create, edit, search, list, export, import of 2,000 parties, a file of 20 MiB, Chinese everywhere."""
    edge = fleet.host(topology.nodes_of("edge")[0].name)
    account("own")
    began, mark = time.time(), secrets.token_hex(4)
    crm.login(login, password)
    context = {**crm.call("model.res.user.get_preferences", True, {}), "language": "zh_CN"}
    parties = at_work(crm, context, mark)

    rows = [
        [f"{SURNAMES[n % 20]}{n:04d}（{mark}）{NOTES[n % len(NOTES)].splitlines()[0][:50]}", f"{mark}{n:05d}"]
        for n in range(ROWS)
    ]
    assert crm.call("model.party.party.import_data", ["name", "code"], rows, context) == ROWS
    found = crm.call("model.party.party.search", [["code", "like", f"{mark}%"]], 0, ROWS, None, context)
    assert len(found) == ROWS
    assert len(crm.call("model.party.party.export_data", found, ["name", "code"], context)) >= ROWS
    crm.call("model.party.party.read", found[:1000], ["rec_name", "code"], context)

    file = {
        "name": "扫描件（盖章）.pdf",
        "type": "data",
        "resource": f"party.party,{parties[0]}",
        "description": NOTES[1],
    }
    content = secrets.token_bytes(FILE)
    (attachment,) = crm.call("model.ir.attachment.create", [{**file, "data": content}], context)
    (kept,) = crm.call("model.ir.attachment.read", [attachment], ["data_size"], context)
    assert kept["data_size"] == FILE
    crm.call("model.party.party.delete", found, context)
    crm.logout()
    assert not refusals(edge, began)
