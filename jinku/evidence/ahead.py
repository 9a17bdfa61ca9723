# SPDX-License-Identifier: Apache-2.0
"""Questions asked ahead: what tests asked last time is asked at the start of the session, of all hosts side by side.

Only tests that change nothing are learnt: those of settings, and those of behaviour that are marked ``ahead``. The tests
then find the answers in their channels. What is no longer asked is forgotten; what is new is asked when its test runs.
"""

from collections import defaultdict
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ValidationError

from jinku.evidence.fleet import Fleet
from jinku.evidence.private import write_private
from jinku.evidence.records import Observation

Question = tuple[str, str | None]  # the command, and what its standard input is given


class _Asked(BaseModel):
    """What one test asked: whether it is one of settings; (host, command, standard input) of each question."""

    setting: bool
    questions: list[tuple[str, str, str | None]]


class _File(BaseModel):
    """``digest``: of the tests that asked; ``asked``: by test."""

    digest: str = ""
    asked: dict[str, _Asked] = {}


def digest_of(arguments: Iterable[str]) -> str:
    """SHA-256 over the tests' texts: whether they are those of last time. ``arguments``: pytest's files and folders."""
    places = [Path(argument.partition("::")[0]) for argument in arguments]
    files = [file for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    return sha256(b"\0".join(file.read_bytes() for file in files if file.is_file())).hexdigest()


class Ahead:
    """The questions by test.

    ``file``: where they are kept between sessions (0600, for a question is run as root). ``digest``: of the tests' texts.
    """

    def __init__(self, file: Path, digest: str) -> None:
        self._file = file
        self._digest = digest
        try:
            kept = _File.model_validate_json(file.read_bytes())
        except (OSError, ValidationError):  # none yet, or of another version: they are learnt anew
            kept = _File()
        self._known = kept.asked
        self._same_tests = kept.digest == digest

    def tests(self, *, settings_only: bool = False) -> list[str]:
        """Every test that is known, or those of settings; a test that was one of settings may be one no more."""
        if settings_only and not self._same_tests:
            return []
        return [test for test, asked in self._known.items() if asked.setting or not settings_only]

    def start(self, fleet: Fleet, tests: Iterable[str], nodes: Iterable[str]) -> None:
        """Ask what ``tests`` asked last time, of those ``nodes``, without waiting."""
        known = set(nodes)
        questions: dict[str, dict[Question, None]] = defaultdict(dict)
        for test in tests:
            for where, command, given in self._known[test].questions if test in self._known else ():
                if where in known:
                    questions[where][command, given] = None
        for where, asked in questions.items():
            fleet.channel(where).prefetch(tuple(asked))

    def forget_all_but(self, tests: Iterable[str]) -> None:
        """Tests that are there no more are not asked for any longer."""
        self._known = {test: self._known[test] for test in tests if test in self._known}

    def forget(self, test: str) -> None:
        """What ``test`` asks depends on when: it is asked when the test runs."""
        self._known.pop(test, None)

    def learn(self, fleet: Fleet, test: str, observations: Iterable[Observation], *, setting: bool) -> None:
        """Remember what ``test`` asked; ``setting``: it is a test of settings."""
        found = [(seen.where, *question) for seen in observations if (question := fleet.question(seen))]
        self._known[test] = _Asked(setting=setting, questions=found)

    def save(self) -> None:
        """Keep the questions for the next session; without a folder to keep them in, forget them."""
        if not self._file.parent.is_dir():
            return
        write_private(self._file, _File(digest=self._digest, asked=self._known).model_dump_json())
