# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs a part (tools/parts.lock.yaml) in its pinned version; asks dpkg first, so that a host from a golden layer costs one command.

    - name: Install the rules
      part:
        name: coreruleset

Returned: changed.
"""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from jinku.on_host import MARK
from jinku.parts import PartError, ensure_part, part_version
from jinku.places import cache_root


class ActionModule(ActionBase):
    """The `part` action."""

    _VALID_ARGS = frozenset(("name",))

    def _on_host(self, command: str) -> str:
        done = self._low_level_execute_command(command)
        if done["rc"]:
            raise AnsibleActionFail(
                f"part: {command.split(maxsplit=1)[0]}: {(done['stderr'] or done['stdout']).strip()}"
            )
        return str(done["stdout"])

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return changed; raises AnsibleActionFail with the reason when the part cannot be had."""
        super().run(tmp, task_vars)
        name = str(self._task.args.get("name", ""))
        try:
            wanted = part_version(name)
        except PartError as error:
            raise AnsibleActionFail(str(error)) from error
        query = f"dpkg --print-architecture && dpkg-query -W -f='${{db:Status-Status}} ${{Version}}' {name} || true"
        architecture, *rest = self._on_host(query).splitlines()
        if rest and rest[0] == f"installed {wanted}":
            return {"changed": False}
        if not self._task.check_mode:
            try:
                package = ensure_part(name, cache_root(), architecture=architecture)
            except PartError as error:
                raise AnsibleActionFail(str(error)) from error
            folder = self._connection._shell.tmpdir or self._make_tmp_path()
            there = self._transfer_file(str(package), f"{folder}/{package.name}")
            try:
                self._on_host(f"dpkg --install {there} && {{ {MARK}; }}")
            finally:
                self._remove_tmp_path(folder)
        had = rest[0].removeprefix("installed ") if rest else "none"
        return {
            "changed": True,
            "diff": {"before": f"{had}\n", "after": f"{wanted}\n", "before_header": name, "after_header": name},
        }
