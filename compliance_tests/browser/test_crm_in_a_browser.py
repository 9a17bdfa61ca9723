# SPDX-License-Identifier: Apache-2.0
"""The main job of a user, in a real browser through the edge: log in, choose a password, record a lead, attach a file.

Runs with `-m browser`. The administrator's own password, chosen at the first login, is kept in <state>/crm/browser-test.json (0600), the
secret of the second factor beside it in second-factor.json (0600).
JINKU_SCREENSHOTS=FOLDER puts the pictures there (docs/images), else they lie in <state>/reports/browser.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from crm_client import Door
from crm_page import Administrator, CrmPage, browser_page
from second_factor import CODE, SETUP

from jinku.places import Places

pytestmark = pytest.mark.browser
ATTACHMENT = 3 * 1024 * 1024  # bytes
DATABASE = "crm"


@pytest.fixture
def pictures(places: Places) -> Path:
    """Folder for the screenshots, made."""
    folder = Path(os.environ.get("JINKU_SCREENSHOTS") or places.reports / "browser")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_a_lead_with_a_chinese_name_and_an_attachment(
    door: Door,
    administrator: Administrator,
    pictures: Path,
    tmp_path: Path,
    places: Places,
    observe: Callable[..., None],
) -> None:
    """Log in with two factors, set an own password at the first login, create a customer and a lead, attach 3 MiB, and get the same bytes back."""
    problems: list[str] = []
    customer = f"云杉科技 {datetime.now(UTC):%m%d%H%M%S}"
    contract = tmp_path / "合同扫描件.bin"
    contract.write_bytes(os.urandom(ATTACHMENT))
    with browser_page(door, problems, places.reports / "browser" / "failure.png") as page:
        crm = CrmPage(page, door, DATABASE, administrator.authenticator)
        first_time = administrator.first_time
        page.goto(f"https://{door.name}/#{DATABASE}")
        page.locator(".login-dialog #login").wait_for()
        page.screenshot(path=pictures / "crm-login.png")
        asked = crm.login(administrator.login, administrator.answer)
        assert asked[0] == "password"
        assert asked[-1] in (SETUP, CODE), f"no second factor: at login the CRM asked for {asked}"
        assert len(asked) == (4 if first_time else 2), f"at login the CRM asked for {asked}"

        crm.new("party.party")
        crm.fill("name", customer)
        crm.save("party.party")
        crm.new("sale.opportunity")
        crm.fill("party", customer)
        crm.fill("description", "客户关系系统一期：需求与报价")
        crm.save("sale.opportunity")
        crm.attach(contract)
        crm.close_messages()
        page.screenshot(path=pictures / "crm-lead.png")
        assert crm.downloaded(contract.name, tmp_path / "back.bin") == contract.read_bytes()
    observe(
        "edge",
        f"Chromium: log in at https://{door.name}, lead for {customer}, attachment of {ATTACHMENT} bytes",
        "done",
    )
    assert not problems, "the edge refused or the browser blocked: " + "; ".join(problems)
