# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells `jinku` what happens in a run: one JSON object a line, so that it can show progress and count changes."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: jinku_events
type: stdout
short_description: One JSON line for each play, task, result and the final numbers
description:
  - Used by C(jinku up) and C(jinku plan); a person's own runs keep the default callback.
  - A task with C(no_log) shows neither its result nor its difference.
"""

_PREFIX = "\x1ejinku "  # an ASCII record separator: nothing else on standard output begins with it


class CallbackModule(CallbackBase):
    """Prints events. The keys are read by jinku/converge.py."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "jinku_events"

    def _say(self, event: str, **fields: Any) -> None:
        print(_PREFIX + json.dumps({"event": event, **fields}, ensure_ascii=False, default=str), flush=True)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._say("play", name=play.get_name())

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._say("task", role=task._role.get_name() if task._role else "", task=task.name or task.action)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self.v2_playbook_on_task_start(task, is_conditional=False)

    def _result(self, status: str, result: Any, **fields: Any) -> None:
        self._say("result", status=status, host=result._host.get_name(), **fields)

    def v2_runner_on_ok(self, result: Any) -> None:
        if not result._result.get("changed"):
            return
        shown = not result._result.get("_ansible_no_log") and not result._task.no_log
        parts = [result._result, *(item for item in result._result.get("results", []) if isinstance(item, dict))]
        diff = "".join(self._get_diff(part["diff"]) or "" for part in parts if part.get("diff")) if shown else ""
        paths = result._result.get("paths_changed", []) if shown else []
        self._result("changed", result, paths=paths, diff=diff)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if ignore_errors:
            return
        if result._result.get("_ansible_no_log") or result._task.no_log:
            text = "the task failed; its output is hidden because it may hold a secret"
        else:
            known = ("msg", "module_stderr", "stderr", "stdout")
            texts = [str(result._result[key]).strip() for key in known if result._result.get(key)]
            results = [str(item.get("msg", "")) for item in result._result.get("results", []) if item.get("failed")]
            text = "\n".join(dict.fromkeys(line for line in [*texts, *results] if line))
        self._result("failed", result, text=text)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._result("unreachable", result, text=str(result._result.get("msg", "")).strip())

    def v2_playbook_on_stats(self, stats: Any) -> None:
        hosts = {host: stats.summarize(host) for host in sorted(stats.processed)}
        self._say("stats", hosts=hosts)
