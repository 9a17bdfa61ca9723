# SPDX-License-Identifier: GPL-3.0-or-later
"""Has units of systemd enabled and running: one question to the host for all of them, and one command for those that are not.

    - name: Keep the receivers running
      units:
        names: [rsyslog.service, jinku-sessions.service]

Returned: changed, changes (what was done, in words), diff.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from jinku.on_host import MARK

NAME = re.compile(r"[\w@:.-]+\.(service|socket|timer|path)")
RUNS = ("active", "activating", "reloading")


class ActionModule(ActionBase):
    """The `units` action."""

    _VALID_ARGS = frozenset(("names",))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return changed, changes and diff; raises AnsibleActionFail with systemd's words when a unit does not start."""
        super().run(tmp, task_vars)
        names = [str(name) for name in self._task.args.get("names") or []]
        if not names or (wrong := [name for name in names if not NAME.fullmatch(name)]):
            raise AnsibleActionFail(
                f"units: names: {(wrong if names else ['nothing'])[0]!r} is no unit; such as ssh.service"
            )
        states = dict(zip(names, self._states(names), strict=True))
        missing = [name for name in names if states[name].get("UnitFileState") != "enabled"]
        stopped = [
            name
            for name in names
            # One that waits to be started again after a fall does not run.
            if states[name].get("ActiveState") not in RUNS or states[name].get("SubState") == "auto-restart"
        ]
        changes = [f"{name}: enabled" for name in missing] + [f"{name}: started" for name in stopped]
        if changes and not self._task.check_mode:
            steps = ["systemctl daemon-reload"]
            # Only a link of systemd's is a file that the integrity check watches; the mark comes first, for what follows may fail.
            steps += [f"{{ {MARK}; }} && systemctl enable --quiet {shlex.join(missing)}"] if missing else []
            steps += [f"systemctl start {shlex.join(stopped)}"] if stopped else []
            done = self._low_level_execute_command(" && ".join(steps))
            if done["rc"]:
                raise AnsibleActionFail((done["stderr"] or done["stdout"]).strip())
        diff = {"before": "", "after": "".join(f"{line}\n" for line in changes)}
        return {"changed": bool(changes), "changes": changes, **({"diff": diff} if changes else {})}

    def _states(self, names: list[str]) -> list[dict[str, str]]:
        """Return what systemd says of each unit, in their order."""
        done = self._low_level_execute_command(
            f"systemctl show -p UnitFileState,ActiveState,SubState {shlex.join(names)}"
        )
        parts = done["stdout"].strip().split("\n\n")
        if done["rc"] or len(parts) != len(names):
            raise AnsibleActionFail((done["stderr"] or done["stdout"]).strip())
        return [dict(line.split("=", 1) for line in part.splitlines() if "=" in line) for part in parts]
