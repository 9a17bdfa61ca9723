# SPDX-License-Identifier: Apache-2.0
"""Tryton's web client as a person uses it, in headless Chromium. Selectors are the client's own names, not its translated words."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from crm_client import Door
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Page, Request, Response, sync_playwright
from second_factor import AUTHENTICATOR, CODE, SETUP, Authenticator

from jinku.places import Places

CHROMIUM = "/usr/bin/chromium"  # Debian's; Playwright's own browser would come from elsewhere
PATIENCE_MS = 60_000
STEP_MS = 100
QUIET_MS = 500
TRIES = 4
FORM = "#tabcontent > .tab-pane.active "
FLAGS = [
    # In a container Chromium's own sandbox cannot nest; the pages are ours.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def verified_key(door: Door) -> str:
    """Return the base64 SHA-256 of the edge's public key, after its certificate has passed verification against our root.

    Chromium has no option for a root CA of its own. It is told to accept exactly this key, and no other certificate error.
    Raises ssl.SSLError when the certificate is not the environment's.
    """
    plain = socket.create_connection((door.address, door.port), timeout=10)
    with door.context().wrap_socket(plain, server_hostname=door.name) as wrapped:
        leaf = wrapped.getpeercert(binary_form=True)
    key = x509.load_der_x509_certificate(leaf or b"").public_key()
    return base64.b64encode(
        hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    ).decode()


@contextmanager
def browser_page(door: Door, problems: list[str], failure: Path) -> Iterator[Page]:
    """Yield a fresh page whose only way out is the edge.

    `problems` receives policy violations and refused requests; `failure` is the picture taken when the block ends in an error.
    """
    rules = f"MAP {door.name} {door.address}, MAP * ~NOTFOUND"
    flags = [*FLAGS, f"--host-resolver-rules={rules}", f"--ignore-certificate-errors-spki-list={verified_key(door)}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        page = browser.new_page(locale="zh-CN", viewport={"width": 1360, "height": 850}, accept_downloads=True)
        page.set_default_timeout(PATIENCE_MS)
        page.on("response", lambda answer: note_refusal(answer, problems))
        page.on("console", lambda told: problems.append(told.text) if "Content Security Policy" in told.text else None)
        try:
            yield page
        except BaseException:
            page.screenshot(path=failure)
            raise
        finally:
            browser.close()


def note_refusal(answer: Response, problems: list[str]) -> None:
    """Remember what the edge refused."""
    if answer.status in (403, 413, 415):
        problems.append(
            f"HTTP {answer.status} {answer.request.method} {answer.url} {(answer.request.post_data or '')[:120]}"
        )


class CrmPage:
    """One person at the CRM."""

    def __init__(self, page: Page, door: Door, database: str, authenticator: Authenticator = AUTHENTICATOR) -> None:
        self.page = page
        self.authenticator = authenticator
        self.door = door
        self.database = database
        self._under_way: set[Request] = set()
        page.on("request", lambda request: None if request.url.endswith("/bus") else self._under_way.add(request))
        page.on("requestfinished", self._done)
        page.on("requestfailed", self._done)

    def _done(self, request: Request) -> None:
        self._under_way.discard(request)

    def login(self, user: str, answer: Callable[[str], str]) -> list[str]:
        """Log in; `answer` is asked for each thing the CRM asks, by its name (password, new_password_1...). Returns those names.

        The authenticator answers for the second factor.
        """
        asked: list[str] = []
        self.page.goto(f"https://{self.door.name}/#{self.database}")
        self.page.locator(".login-dialog #login").fill(user)
        self.page.locator(".login-dialog button[type=submit]").click()
        question = self.page.locator(".ask-dialog #ask-dialog-entry")
        inside = self.page.locator("#user-preferences a")
        question.or_(inside).first.wait_for()
        while question.is_visible():
            name = question.get_attribute("name") or ""
            if name in asked:
                raise AssertionError(f"the CRM asks again for {name}: it was not accepted")
            asked.append(name)
            told = self.page.locator(".ask-dialog label[for=ask-dialog-entry]").inner_text()
            question.fill(self.authenticator.answer(user, name, told) if name in (SETUP, CODE) else answer(name))
            self.page.locator(".ask-dialog .btn-primary").click()
            self.page.locator(f".ask-dialog [name={name}]").wait_for(state="detached")
            question.or_(inside).first.wait_for()
        inside.wait_for()
        self.settle()
        return asked

    def settle(self) -> None:
        """Wait until the client has had nothing under way for a while: it redraws forms when answers come in, and forgets what was typed.

        Raises AssertionError when it never rests.
        """
        quiet = 0
        for _ in range(PATIENCE_MS // STEP_MS):
            self.page.wait_for_timeout(STEP_MS)
            quiet = 0 if self._under_way else quiet + 1
            if quiet * STEP_MS >= QUIET_MS:
                self.complain()
                return
        raise AssertionError(f"the client is busy for more than {PATIENCE_MS / 1000:.0f} s")

    def complain(self) -> None:
        """Raise AssertionError with the words of an error window, if one is open."""
        window = self.page.locator(".error-dialog.in")
        assert not window.is_visible(), f"the CRM reports an error: {window.inner_text()[:600]}"

    def open(self, model: str) -> None:
        """Open a tab of a model with its list."""
        tabs = self.page.locator("#tablist > li")
        before = tabs.count()
        self.page.goto(f"https://{self.door.name}/#{self.database}/model/{model}")
        tabs.nth(before).wait_for()
        self.settle()

    def search(self, text: str) -> None:
        """Search in the list of the open tab."""
        entry = self.page.locator(f"{FORM}.filter-box input.form-control")
        entry.fill(text)
        entry.press("Enter")
        self.settle()

    def call(self, method: str, *params: object) -> Any:
        """Call a method of the CRM in the person's session, as the client itself does, and return its answer."""
        return self.page.evaluate(
            "([method, params]) => Sao.rpc({method, params}, Sao.Session.current_session)", [method, params]
        )

    def new(self, model: str) -> None:
        """Open a tab of a model with an empty form."""
        self.open(model)
        self.page.locator(f"{FORM}.btn-toolbar #new_:not([disabled])").click()
        self.settle()

    def fill(self, field: str, text: str) -> None:
        """Type into a field and leave it; where the client opens a search window for a relation, choose the row with that text.

        As a person does, it types again when the client redrew the form in the meantime and lost the text.
        """
        entry = self.page.locator(f"{FORM}input[name={field}]").first
        for _ in range(TRIES):
            entry.fill(text)
            entry.press("Tab")
            self.settle()
            window = self.page.locator(".modal.in")
            if window.is_visible():
                row = window.locator("tr", has_text=text)
                row.locator("input[type=radio], input[type=checkbox]").first.check(force=True)
                self.settle()
                window.locator(".modal-footer .btn-primary").click()
                window.wait_for(state="hidden")
                self.settle()
            if text in entry.input_value():
                return
        raise AssertionError(f"{field} holds {entry.input_value()!r} after {text!r} was typed")

    def save(self, model: str) -> None:
        """Save the record of the open tab; the server's answer must be a good one."""
        with self.page.expect_response(
            lambda answer: f"model.{model}.create" in (answer.request.post_data or "")
        ) as saved:
            self.page.locator(f"{FORM}.btn-toolbar #save").click()
        assert saved.value.status == 200, f"saving {model}: HTTP {saved.value.status}"
        assert "error" not in saved.value.json(), f"saving {model}: {saved.value.json()['error']}"
        self.settle()

    def attach(self, file: Path) -> None:
        """Attach a file to the record of the open tab."""
        self.open_attachments()
        self.page.locator(f"{FORM}.dropdown-menu input[type=file]").set_input_files(file)
        window = self.page.locator(".modal.in").last
        window.locator("td, input").filter(has_text=file.name).or_(
            window.locator(f"input[value='{file.name}']")
        ).first.wait_for()
        with self.page.expect_response(
            lambda answer: "model.ir.attachment.create" in (answer.request.post_data or "")
        ) as saved:
            window.locator(".modal-footer .btn-primary").click()
        assert saved.value.status == 200, f"attaching {file.name}: HTTP {saved.value.status}"
        window.wait_for(state="hidden")
        self.settle()

    def open_attachments(self) -> None:
        """Open the menu of the record's attachments."""
        self.page.locator(f"{FORM}.btn-toolbar #attach").click()
        self.page.locator(f"{FORM}.dropdown-menu input[type=file]").wait_for(state="attached")

    def close_messages(self) -> None:
        """Close the client's own messages, such as that a record was saved."""
        shown = self.page.locator(".alert:visible .close:visible")
        while shown.count():
            shown.first.click()
            self.settle()

    def downloaded(self, name: str, to: Path) -> bytes:
        """Download an attachment of the open record through the menu and return its bytes."""
        self.open_attachments()
        with self.page.expect_download() as download:
            self.page.locator(f"{FORM}.dropdown-menu").get_by_role("menuitem", name=name).click()
        download.value.save_as(to)
        return to.read_bytes()


class Administrator:
    """Answers the CRM's questions at login: with the password chosen earlier, or with the one-time password and a new one."""

    def __init__(self, places: Places) -> None:
        self.login = "admin"
        self.authenticator = Authenticator(places.state / "crm" / "second-factor.json")
        self._kept = places.state / "crm" / "browser-test.json"
        self._given = places.state / "crm" / "first-login.json"
        if self._kept.exists() and self._given.exists() and self._given.stat().st_mtime > self._kept.stat().st_mtime:
            self._kept.unlink()  # of a database that is gone: since then a new one-time password was made
        self._own: str | None = json.loads(self._kept.read_text())["password"] if self._kept.exists() else None

    @property
    def first_time(self) -> bool:
        """Whether this login is the first one."""
        return self._own is None

    def answer(self, question: str) -> str:
        """Return what to type; fails the test when nobody knows the password."""
        if question == "password" and self._own:
            return self._own
        if question == "password":
            if not self._given.exists():
                pytest.fail(  # a skip would let `make test-browser` pass without having looked
                    f"{self._given}: missing, and {self._kept} too; run `jinku up`, or put the password there yourself"
                )
            return str(json.loads(self._given.read_text())["password"])
        if question.startswith("new_password"):
            return self._chosen()
        raise AssertionError(f"the CRM asks for {question}, which this test does not know")

    def _chosen(self) -> str:
        """Choose a password once, and write it down before it is used."""
        if not self._kept.exists():
            handle = os.open(self._kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as stream:
                json.dump({"login": self.login, "password": f"{secrets.token_urlsafe(15)}-Aa1"}, stream)
        return str(json.loads(self._kept.read_text())["password"])
