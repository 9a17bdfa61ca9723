# SPDX-License-Identifier: Apache-2.0
"""What a finished test of pytest says, in the words of the evidence."""

from collections.abc import Iterator
from itertools import takewhile

import pytest

from jinku.evidence.channel import Unreachable
from jinku.evidence.masking import shorten
from jinku.evidence.records import Reason, Verdict

#: Characters of what an error says that a reason keeps.
_LONGEST_REASON = 600


def verdict_of(call: pytest.CallInfo[None], report: pytest.TestReport) -> tuple[Verdict, Reason]:
    """What a finished test says. A failed assertion in it, or in what it rests on, is a finding; all else is not tested."""
    if report.passed:
        return Verdict.CONFORM, Reason(code="proven", text="the test passed")
    error = call.excinfo.value if call.excinfo else None
    text = shorten(_told(str(error)), _LONGEST_REASON)
    if isinstance(error, Unreachable):
        return Verdict.NOT_TESTED, Reason(code="unreachable", text=text)
    if report.skipped:
        return Verdict.NOT_TESTED, Reason(code="skipped", text=text)
    if report.when in ("setup", "call") and isinstance(error, (AssertionError, pytest.fail.Exception)):
        return Verdict.NONCONFORM, Reason(code="failed", text=text)
    return Verdict.NOT_TESTED, Reason(code="error", text=f"{type(error).__name__}: {text}")


def _told(message: str) -> str:
    """What an error says, in one line: a test's own words without pytest's explanation of the expression below them."""
    lines = [line.strip() for line in message.removeprefix("AssertionError: ").splitlines() if line.strip()]
    own = list(takewhile(lambda line: not line.startswith("assert "), lines))
    return " / ".join((own or lines)[:4])


def titles_of(item: pytest.Item) -> tuple[str, str]:
    """English and Chinese sentence of a test: the first paragraph of its docstring, and its line ``zh:``."""
    function = getattr(item, "function", None)
    lines = [line.strip() for line in ((function.__doc__ or "") if function else "").strip().splitlines()]
    zh = next((line.removeprefix("zh:").strip() for line in lines if line.startswith("zh:")), "")
    en = " ".join(_first_paragraph(lines)) or item.name.partition("[")[0].removeprefix("test_").replace("_", " ")
    return en, zh or en


def _first_paragraph(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line or line.startswith("zh:"):
            return
        yield line
