# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a host's named operator accounts to the list: groups, accounts, memberships, and the removal of whoever left.

Whoever is in the marking group and not on the list loses keys, sessions and account, in this order; the home is kept for the
record under another name, closed to the next bearer of its uid. Whoever changes duty or keys, and so the principal of the
certificate, loses the sessions that were opened before.

| argument   | meaning                                                                                                       |
|------------|---------------------------------------------------------------------------------------------------------------|
| operators  | name, duty and principal of each person who may be known here                                                 |
| accounts   | names of those who have an account on this host; all others have none                                         |
| proofs     | folders with a file for each person, by name, that lets them in; the first holds the principals               |
| duties     | groups of each duty                                                                                           |
| mark       | group of all operator accounts; its members, and accounts of the names on the list, go where they may not be  |
| login      | group that may log in                                                                                         |
| automation | the automation account, which must exist                                                                      |

All are required. Returned: changed, done (list of what was done, in words), diff.
"""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from jinku.on_host import OnHostError, run_on_host

KINDS: dict[str, type] = {
    "operators": list,
    "accounts": list,
    "proofs": list,
    "duties": dict,
    "mark": str,
    "login": str,
    "automation": str,
}


class ActionModule(ActionBase):
    """The `operators` action."""

    _VALID_ARGS = frozenset(KINDS)

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return changed, done and diff; raises AnsibleActionFail with the words of whoever refused."""
        super().run(tmp, task_vars)
        given = dict(self._task.args)
        for name, kind in KINDS.items():
            if not isinstance(given.get(name), kind):
                raise AnsibleActionFail(f"operators: {name}: is no {kind.__name__}; give one")
        try:
            return run_on_host(
                self._low_level_execute_command,
                "operators",
                given,
                check_mode=self._task.check_mode,
                diff=self._task.diff,
            )
        except OnHostError as error:
            raise AnsibleActionFail(str(error)) from error
