# SPDX-License-Identifier: Apache-2.0
"""Tests wait for what only time brings: the first looks, copies and seals just after an `up`."""

import time
from collections import Counter
from collections.abc import Iterator

#: The trial that this session has come to, by what is waited for.
_TRIAL: Counter[str] = Counter()
#: What the present test asked a second time or later.
_WAITED: set[str] = set()


def trials(what: str, times: int = 10, pause_s: float = 10) -> Iterator[int]:
    """Numbers of trials of what may be to come just after `up`; who asks breaks off when it has come.

    The same question is asked once a session, so each trial is to be worded by its number. A session waits for a thing once:
    who asks for the same ``what`` later goes on with the trial that was reached, and has that one alone if all were made.
    """
    for trial in range(_TRIAL[what], times):
        _TRIAL[what] = trial
        if trial:
            _WAITED.add(what)
        yield trial
        if trial + 1 < times:
            time.sleep(pause_s)


def begin() -> None:
    """A new test begins."""
    _WAITED.clear()


def waited() -> bool:
    """Whether the present test asked anything a second time. Asked ahead, its later trials would all be answered at once."""
    return bool(_WAITED)
