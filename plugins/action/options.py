# SPDX-License-Identifier: GPL-3.0-or-later
"""Validates the options of all roles of a playbook at once, on the controller, as Ansible itself does by a task per role and host.

    - name: Validate the options of all roles
      options:
        playbook: site.yml
      run_once: true

Each task of a play that is an `ansible.builtin.import_role` with `rolespec_validate: false` is looked at, for those hosts of this run that its play names.
What counts is the role's meta/argument_specs.yml (entry point main, or tasks_from), and its defaults below the host's variables.
Returned: changed (never). Fails with host, role and option of whatever is wrong, all at once; no host is connected to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.inventory.manager import order_patterns, split_host_pattern
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

IMPORT = "ansible.builtin.import_role"


def named(pattern: str, groups: dict[str, list[str]]) -> set[str]:
    """Return the hosts that a play's `hosts` names, such as `all:!vault`. :raises AnsibleActionFail: it has a wildcard."""
    if re.search(r"[*?~\[]", pattern):
        raise AnsibleActionFail(
            f"hosts: {pattern!r} is a pattern that this action does not read; groups and hosts by name"
        )
    hosts: set[str] = set()
    for part in order_patterns(split_host_pattern(pattern)):
        name = part.lstrip("!&")
        members = set(groups.get(name, [name]))
        hosts = hosts - members if part[0] == "!" else hosts & members if part[0] == "&" else hosts | members
    return hosts


class ActionModule(ActionBase):
    """The `options` action."""

    _VALID_ARGS = frozenset(("playbook",))
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return that nothing changed; raises AnsibleActionFail with all that is wrong."""
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        self._base = str(task_vars["playbook_dir"])
        self._role = cache(self._loaded)
        taken = list(self._taken(str(self._task.args.get("playbook", "")), task_vars["groups"]))
        wrong = []
        for host in task_vars["ansible_play_hosts_all"]:
            variables = {**task_vars["hostvars"].raw_get(host), "hostvars": task_vars["hostvars"]}
            for role, entry in dict.fromkeys((role, entry) for role, entry, hosts in taken if host in hosts):
                wrong += [f"{host}: {role}: {words}" for words in self._wrong(role, entry, variables)]
        if wrong:
            raise AnsibleActionFail("\n".join(wrong))
        return {"changed": False}

    def _taken(self, playbook: str, groups: dict[str, list[str]]) -> Iterator[tuple[str, str, set[str]]]:
        """Yield role, entry point and hosts of each import that leaves the validation to this action."""
        for play in self._loader.load_from_file(os.path.join(self._base, playbook)):
            for part in ("pre_tasks", "tasks", "post_tasks"):
                for task in play.get(part, []):
                    asked = task.get(IMPORT, {})
                    if asked.get("rolespec_validate") is False:
                        yield asked["name"], asked.get("tasks_from", "main"), named(play["hosts"], groups)

    def _loaded(self, role: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the specifications by entry point and the defaults of a role, found where Ansible finds it."""
        for folder in (os.path.join(self._base, "roles"), *constants.DEFAULT_ROLES_PATH, self._base):
            spec, defaults = (
                os.path.join(folder, role, part) for part in ("meta/argument_specs.yml", "defaults/main.yml")
            )
            if os.path.isdir(os.path.join(folder, role)):
                if not os.path.isfile(spec):
                    raise AnsibleActionFail(f"{spec}: is missing; the role's options by name and type")
                values = (
                    self._loader.load_from_file(defaults, trusted_as_template=True) if os.path.isfile(defaults) else {}
                )
                return self._loader.load_from_file(spec)["argument_specs"], values or {}
        raise AnsibleActionFail(f"{role}: role: is in none of the folders of roles_path (ansible.cfg)")

    def _wrong(self, role: str, entry: str, variables: dict[str, Any]) -> list[str]:
        """Return what is wrong with the options of one role on one host."""
        specs, defaults = self._role(role)
        options = specs.get(entry, {}).get("options", {})
        scope = {**defaults, **variables}
        templar = self._templar.copy_with_new_env(available_variables=scope)
        given, wrong = {}, []
        for name in options:
            if name in scope:
                try:
                    given[name] = templar.template(scope[name])
                except AnsibleError as error:
                    wrong.append(f"{name}: {error.message}")
        return wrong or ArgumentSpecValidator(options).validate(given, validate_role_argument_spec=True).error_messages
