# SPDX-License-Identifier: Apache-2.0
"""A control test that could not judge is tried once more, at once: a question that timed out on a busy host is no verdict.

A finding is none of these: a test that failed stays failed. What the first try met is told in the record of the second.
"""

import pytest
from _pytest.runner import runtestprotocol  # what pytest-rerunfailures and flaky use; there is no public name

from jinku.evidence.fleet import Fleet, Notebook
from jinku.evidence.records import Record


class Again:
    """``records``: where the session keeps what its tests said; ``notebook`` and ``fleet``: what they asked, and whom."""

    def __init__(self, records: list[Record], notebook: Notebook, fleet: Fleet) -> None:
        self._records, self._notebook, self._fleet = records, notebook, fleet

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run a test; twice, if its records say that it met an error."""
        before = len(self._records)
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        first = self._records[before:]
        if any(record.reason.code == "error" for record in first):
            del self._records[before:]
            self._fleet.forget(self._notebook.page)
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
            self._records[before:] = [_told(record, first[0].reason.text) for record in self._records[before:]]
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


def _told(record: Record, first: str) -> Record:
    text = f"{record.reason.text} (at the second try; the first could not judge: {first})"
    return record.model_copy(update={"reason": record.reason.model_copy(update={"text": text})})
