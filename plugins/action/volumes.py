# SPDX-License-Identifier: GPL-3.0-or-later
"""Has a host's volumes encrypted and open; brings a volume's key from the escrow when neither host nor vault has it.

    - name: Encrypt the volumes that are not, and have them open
      volumes:
        reload: false

`reload`: systemd reads its units first. Returned: changed and `changes`. A key passes on standard input only.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from jinku.escrow import Escrow, ensure_escrow
from jinku.on_host import MARK
from jinku.pki import PkiError
from jinku.places import Places

PROGRAM = "/usr/local/sbin/jinku-volumes"
UNIT = "jinku-volumes.service"


class ActionModule(ActionBase):
    """The `volumes` action."""

    _VALID_ARGS = frozenset(("reload",))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return changed and changes; raises AnsibleActionFail with the words of whoever refused."""
        super().run(tmp, task_vars)
        if self._task.check_mode:
            return self._result(self._would())
        try:
            escrow = ensure_escrow(Places(str((task_vars or {})["jinku_env"]["name"])))
            changes, stopped = self._encrypt(escrow)
        except PkiError as error:
            raise AnsibleActionFail(str(error)) from error
        changes += self._open(reload=bool(self._task.args.get("reload", False)))
        if stopped:
            self._on_host(f"systemctl start {' '.join(stopped)}")
        if changes:
            self._on_host(MARK)
        return self._result(changes)

    def _result(self, changes: list[str]) -> dict[str, Any]:
        diff = {"before": "", "after": "".join(f"{change}\n" for change in changes)}
        return {"changed": bool(changes), "changes": changes, **({"diff": diff} if changes else {})}

    def _on_host(self, command: str, given: str | None = None) -> str:
        """Run a command on the host, `given` on its standard input, and return its output."""
        data = given.encode() if given is not None else None
        done = self._low_level_execute_command(command, in_data=data)
        if done["rc"]:
            raise AnsibleActionFail((done["stderr"] or done["stdout"]).strip())
        return str(done["stdout"])

    def _would(self) -> list[str]:
        """What a run would do; a host without the program has everything before it."""
        done = self._low_level_execute_command(f"test ! -x {PROGRAM} || {PROGRAM} make --check")
        if not done["stdout"].strip():
            return ["volumes: encrypted"]
        return list(json.loads(done["stdout"])["changes"])

    def _encrypt(self, escrow: Escrow) -> tuple[list[str], list[str]]:
        """Return what was done, and the services that were stopped for it."""
        told = json.loads(self._on_host(f"{PROGRAM} make", escrow.certificate_path.read_text()))
        if told["refused"]:
            # What was done for the others stands, and so does what was stopped for it: the next run would not know.
            if told["stopped"]:
                self._on_host(f"systemctl start {' '.join(told['stopped'])}")
            if told["changes"]:
                self._on_host(MARK)
            raise AnsibleActionFail("; ".join(f"{name}: {reason}" for name, reason in told["refused"].items()))
        changes = list(told["changes"])
        for name, sealed in told["escrow"].items():
            self._on_host(f"{PROGRAM} adopt {name}", base64.b64encode(escrow.open(sealed)).decode())
            changes.append(f"volume {name}: its key brought from the escrow")
        return changes, list(told["stopped"])

    def _open(self, *, reload: bool) -> list[str]:
        """Start the unit unless it is active; what needs the volumes is started with it."""
        active = self._low_level_execute_command(f"systemctl is-active --quiet {UNIT}")["rc"] == 0
        if reload:
            self._on_host("systemctl daemon-reload")
        if active:
            return []
        done = self._low_level_execute_command(f"systemctl start {UNIT}")
        if done["rc"]:
            said = self._low_level_execute_command(f"journalctl -u {UNIT} -t jinku-volumes -n 4 -o cat")["stdout"]
            raise AnsibleActionFail(f"{UNIT}: {said.strip() or done['stderr'].strip()}")
        return ["volumes: opened"]
