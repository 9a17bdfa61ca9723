# SPDX-License-Identifier: Apache-2.0
"""The web client's windows for the import and the export of CSV, as a person uses them (tryton-sao 7.0: Sao.Window.Import and Export)."""

from __future__ import annotations

from pathlib import Path

from crm_page import FORM, CrmPage
from playwright.sync_api import Locator

WINDOW = ".modal.csv.in "
CHOSEN, ALL = ".column-fields >> nth=1", ".column-fields >> nth=0"
BUTTONS = ".modal-body .col-md-2 > .btn"
REMOVE_ALL = 2  # of the buttons between the two lists: add, remove, clear; then those of the window
DETECT = 3
ANSWER_MS = 180_000  # the CRM checks and writes every record of a file in one request; on a busy machine 2,000 take more than a minute


class CsvWindows:
    """The two windows of the list that is open."""

    def __init__(self, crm: CrmPage) -> None:
        self.crm = crm
        self.page = crm.page
        self.window = self.page.locator(WINDOW)

    def bring_in(self, file: Path) -> tuple[list[str], int]:
        """Import a CSV file whose first line names its columns, which the client itself finds: return their fields, and how many records it tells.

        Raises AssertionError with the CRM's words when it refuses.
        """
        self._open("import")
        self.window.locator("#input-csv-file").set_input_files(file)
        self.window.locator(BUTTONS).nth(DETECT).click()
        self.window.locator(f"{CHOSEN} >> li").first.wait_for()
        fields = self._fields("field")
        return fields, self._confirm("import_data")

    def take_out(self, fields: list[str], to: Path) -> int:
        """Export these fields of all records that the list's search finds, into a CSV file: return how many records the client tells."""
        self._open("export")
        self.window.locator(BUTTONS).nth(REMOVE_ALL).click()
        for field in fields:
            self.window.locator(f"{ALL} >> li[path='{field}']").click()
            self.window.locator(BUTTONS).first.click()
        assert self._fields("path") == fields
        self.window.locator("#input-records").select_option("false")  # those listed, not those selected
        self.window.locator(".modal-body .checkbox:visible input").first.check()  # without the limit of the list
        with self.page.expect_download(timeout=ANSWER_MS) as download:
            told = self._confirm("export_data_domain")
        download.value.save_as(to)
        return told

    def _open(self, entry: str) -> None:
        """Open a window by its entry in the tab's menu."""
        self.page.locator(f"{FORM}.navbar-brand.dropdown-toggle").click()
        self.page.locator(f"{FORM}.dropdown-menu #{entry}").click()
        self.window.wait_for()
        self.crm.settle()

    def _fields(self, attribute: str) -> list[str]:
        """The technical names of the chosen fields, in their order."""
        chosen = self.window.locator(f"{CHOSEN} >> li")
        return [one.get_attribute(attribute) or "" for one in chosen.all()]

    def _confirm(self, method: str) -> int:
        """Press OK: the server's answer to `method` must be a good one. Return the number in the client's message, and close it."""
        with self.page.expect_response(
            lambda answer: f".{method}" in (answer.request.post_data or ""), timeout=ANSWER_MS
        ) as answered:
            self.window.locator(".modal-footer .btn-primary").click()
        assert answered.value.status == 200, f"{method}: HTTP {answered.value.status}"
        assert "error" not in answered.value.json(), f"{method}: {answered.value.json()['error']}"
        return self._told(self.page.locator(".modal.message-dialog.in"))

    def _told(self, message: Locator) -> int:
        text = message.locator(".alert").inner_text()
        message.locator(".btn-primary").click()
        self.window.wait_for(state="hidden")
        self.crm.settle()
        return int("".join(sign for sign in text if sign.isdigit()))
