# SPDX-License-Identifier: Apache-2.0
"""A person's authenticator app, for clients of the CRM: keeps the secret that the CRM shows once, and computes its codes."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from urllib.parse import parse_qs, urlparse

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from filelock import FileLock

#: What the CRM asks for: a code of the secret that the question itself shows, or of the one that it showed earlier.
SETUP, CODE = "totp_setup", "totp_code"
PERIOD_S = 30
DIGITS = 6
_URL = re.compile(r"otpauth://[^\s)）]+")


def code_at(url: str, step: int) -> str:
    """The code of an otpauth URL in one half minute (`step` of them since 1970); RFC 6238."""
    secret = parse_qs(urlparse(url).query)["secret"][0]
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    return TOTP(key, DIGITS, SHA1(), PERIOD_S, enforce_key_length=False).generate(step * PERIOD_S).decode()  # noqa: S303  as apps do


class Authenticator:
    """Secrets and used codes of persons, by login name: in memory, or in a file (0600) that several processes may share."""

    def __init__(self, kept: Path | None = None) -> None:
        self._kept = kept
        self._known: dict[str, dict[str, str | int]] = {}

    def answer(self, login: str, question: str, told: str) -> str:
        """Return what to type when the CRM asks `question` with the words `told`: a code that was not used yet.

        The CRM takes a code once, and none that is older than one it has taken: this waits for the next when those that are good
        now are used. Raises LookupError for a person whose secret was never shown.
        """
        with self._locked():
            known = self._read()
            if question == SETUP:
                found = _URL.search(told)
                if not found:
                    raise LookupError(f"{login}: no otpauth URL in: {told}")
                if known.get(login, {}).get("url") != found[0]:
                    known[login] = {"url": found[0], "step": 0}
            if login not in known:
                raise LookupError(
                    f"{login}: the CRM asks for a code, and its secret was never shown here ({self._kept}); on its host: jinku-crm unenrol {login}"
                )
            mine = known[login]
            step = max(int(time.time()) // PERIOD_S, int(mine["step"]) + 1)
            mine["step"] = step
            self._write(known)
            time.sleep(max(0.0, (step - 1) * PERIOD_S - time.time()))  # that of the next half minute is taken already
            return code_at(str(mine["url"]), step)

    def url(self, login: str) -> str:
        """The otpauth URL of a person. Raises KeyError when none was shown."""
        return str(self._read()[login]["url"])

    def _locked(self) -> AbstractContextManager[object]:
        return FileLock(f"{self._kept}.lock") if self._kept else nullcontext()

    def _read(self) -> dict[str, dict[str, str | int]]:
        if self._kept and self._kept.exists():
            self._known = json.loads(self._kept.read_text())
        return self._known

    def _write(self, known: dict[str, dict[str, str | int]]) -> None:
        """Before a code is used: a secret that was shown and is not kept would lock its person out."""
        self._known = known
        if self._kept:
            scratch = self._kept.with_name(f".{self._kept.name}.new")
            with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
                json.dump(known, stream)
            scratch.rename(self._kept)


#: Of accounts that live as long as the process.
AUTHENTICATOR = Authenticator()
