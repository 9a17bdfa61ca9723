# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints at the end of a run how long each role took, the longest first."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: role_times
type: aggregate
short_description: Prints the time per role
description: Adds up the wall time of the tasks of each role over the whole run.
"""


class CallbackModule(CallbackBase):
    """Wall time per role; tasks run one after another under the linear strategy, so the sum is the run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "role_times"

    def __init__(self) -> None:
        super().__init__()
        self._spent: dict[str, float] = {}
        self._role: str | None = None
        self._since = 0.0

    def _turn(self, role: str | None) -> None:
        now = time.monotonic()
        if self._role is not None:
            self._spent[self._role] = self._spent.get(self._role, 0.0) + now - self._since
        self._role, self._since = role, now

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._turn(task._role.get_name() if task._role else "(play)")

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._turn(task._role.get_name() if task._role else "(play)")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._turn(None)
        if self._spent:
            rows = sorted(self._spent.items(), key=lambda row: -row[1])
            self._display.banner("TIME PER ROLE")
            for role, seconds in rows:
                self._display.display(f"{role:20} {seconds:6.1f} s")
            self._display.display(f"{'in all':20} {sum(self._spent.values()):6.1f} s")
