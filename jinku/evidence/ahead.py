# SPDX-License-Identifier: Apache-2.0
"""Questions asked ahead: what tests asked last time is asked at the start of the session, of all hosts side by side.

Only tests that change nothing are learnt: those of settings, and those of behaviour that are marked ``ahead``. The tests
then find the answers in their channels. What is no longer asked is forgotten; what is new is asked when its test runs.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from jinku.evidence.fleet import Fleet
from jinku.evidence.private import write_private
from jinku.evidence.records import Observation

Question = tuple[str, str | None]  # the command, and what its standard input is given


class Ahead:
    """The questions by test. ``file``: where they are kept between sessions (0600, for a question is run as root)."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._known: dict[str, list[tuple[str, str, str | None]]] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._known = {}

    def start(self, fleet: Fleet, tests: Iterable[str] | None, nodes: Iterable[str]) -> None:
        """Ask what ``tests`` asked last time, of those ``nodes``, without waiting. ``None``: every test that is known."""
        known = set(nodes)
        questions: dict[str, dict[Question, None]] = defaultdict(dict)
        for test in self._known if tests is None else tests:
            for where, command, given in self._known.get(test, []):
                if where in known:
                    questions[where][command, given] = None
        for where, asked in questions.items():
            fleet.channel(where).prefetch(tuple(asked))

    def forget_all_but(self, tests: Iterable[str]) -> None:
        """Tests that are there no more are not asked for any longer."""
        self._known = {test: self._known[test] for test in tests if test in self._known}

    def learn(self, fleet: Fleet, test: str, observations: Iterable[Observation]) -> None:
        """Remember what ``test`` asked."""
        found = [(seen.where, *question) for seen in observations if (question := fleet.question(seen))]
        self._known[test] = found

    def save(self) -> None:
        """Keep the questions for the next session; without a folder to keep them in, forget them."""
        if not self._file.parent.is_dir():
            return
        write_private(self._file, json.dumps(self._known))
