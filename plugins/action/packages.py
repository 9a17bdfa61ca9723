# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs what is missing of a list of Debian packages; asks dpkg first, so that a host from a golden layer costs one command.

    - name: Install the packages
      packages:
        names: "{{ postgres_packages }}"

Returned: changed, missing (the names that were not installed).
"""

from __future__ import annotations

import re
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from jinku.on_host import MARK

NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")


class ActionModule(ActionBase):
    """The `packages` action."""

    _VALID_ARGS = frozenset(("names",))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return changed and missing; apt's own result when it had to run."""
        super().run(tmp, task_vars)
        names = [str(name) for name in self._task.args.get("names", [])]
        if wrong := [name for name in names if not NAME.fullmatch(name)]:
            raise AnsibleActionFail(f"packages: names: {wrong[0]!r} is not a package name; such as openssh-server")
        query = "dpkg-query -W -f='${db:Status-Status} ${Package}\\n' " + " ".join(names)
        known = self._low_level_execute_command(query)["stdout"].splitlines() if names else []
        installed = {line.split()[1] for line in known if line.startswith("installed ")}
        missing = [name for name in names if name not in installed]
        if not missing or self._task.check_mode:
            diff = {"before": "", "after": "".join(f"{name}\n" for name in missing), "after_header": "packages"}
            return {"changed": bool(missing), "missing": missing, "diff": diff if missing else {}}
        arguments = {
            "name": missing,
            "state": "present",
            "update_cache": True,
            "install_recommends": False,
            "lock_timeout": 300,
        }
        result: dict[str, Any] = self._execute_module(
            module_name="ansible.legacy.apt", module_args=arguments, task_vars=task_vars
        )
        if not result.get("failed"):
            self._low_level_execute_command(MARK)
        return {**result, "missing": missing}
