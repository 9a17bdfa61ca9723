# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a role's `files/converge.sh` on the host, without a module (ADR 31).

    - name: Make the repositories, run the services
      converge:
        arguments: [crm]
        texts: {cluster_sql: cluster.sql}

| argument  | meaning                                                                                                              |
|-----------|----------------------------------------------------------------------------------------------------------------------|
| script    | its name under files/; default converge.sh                                                                           |
| arguments | its words; `--check` is one more, the last, in check mode: the script then says what would change and changes nothing |
| texts     | files of the role that the script asks for by name: each is a function that prints the file                          |

The script prints a line for each change, nothing otherwise, and says on its errors why it ended. It is sent on standard input, as the
body of one function: bash has read all of it before its first command runs, and no command in it can read the rest.
Returned: changed, changes (the lines), diff; what it says on its errors and goes on is a warning.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


def whole(script: str, texts: dict[str, str]) -> str:
    """Return a bash text that runs a script only once it has been read to its end."""
    functions = "".join(
        f"{name}() {{ printf '%s\\n' {shlex.quote(text.rstrip())}; }}\n" for name, text in texts.items()
    )
    return f'{functions}converge() {{\n{script}\n}}\nconverge "$@" </dev/null\n'


class ActionModule(ActionBase):
    """The `converge` action."""

    _VALID_ARGS = frozenset(("script", "arguments", "texts"))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return changed, changes and diff; a script that ends with another code than 0 is a failure in its own words."""
        super().run(tmp, task_vars)
        given = self._task.args
        texts = {str(name): self._text(str(file)) for name, file in dict(given.get("texts") or {}).items()}
        if wrong := [name for name in texts if not re.fullmatch(r"[a-z_]+", name)]:
            raise AnsibleActionFail(f"converge: texts: {wrong[0]!r} is no name of a function; such as cluster_sql")
        script = whole(self._text(str(given.get("script", "converge.sh"))), texts)
        words = [
            "" if word is None else str(word) for word in given.get("arguments") or []
        ]  # None: a template without a result
        words += ["--check"] * bool(self._task.check_mode)
        done = self._low_level_execute_command(shlex.join(["bash", "-s", "--", *words]), in_data=script.encode())
        changes = [line for line in done["stdout"].splitlines() if line.strip()]
        result: dict[str, Any] = {"changed": bool(changes), "changes": changes}
        if changes:
            result["diff"] = {"before": "", "after": "".join(f"{line}\n" for line in changes)}
        said = done["stderr"].strip()
        if done["rc"]:
            result |= {"failed": True, "msg": said or (changes or [f"ended with {done['rc']}, without a word"])[-1]}
        elif said:
            result["warnings"] = [said]
        return result

    def _text(self, name: str) -> str:
        return Path(self._find_needle("files", name)).read_text(encoding="utf-8")
