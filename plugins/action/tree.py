# SPDX-License-Identifier: GPL-3.0-or-later
"""Ships the rendered files of one role in a single run on the host.

The role keeps a `manifest.yml`, a list of entries, and the files themselves under `templates/` (`<path>.j2`, rendered as
`ansible.builtin.template` does) or `files/` (`<path>`, taken as they are), mirrored as they lie on the host:

    - path: /etc/ssh/sshd_config.d/10-jinku.conf
      mode: "0600"
      validate: sshd -t -f %s

| key      | meaning                                                                              | default |
|----------|--------------------------------------------------------------------------------------|---------|
| path     | where it lies on the host, absolute                                                  |         |
| state    | file, directory, link or absent                                                      | file    |
| owner    |                                                                                      | root    |
| group    |                                                                                      | root    |
| mode     | four octal digits, in quotes (file, directory)                                       |         |
| validate | a command that must accept the new file; %s is its staged copy                       |         |
| source   | another name under templates/ or files/ than the path                                | path    |
| target   | where a link points                                                                  |         |
| purge    | directory: whatever no entry names is removed from it                                | false   |
| loop     | a list; the entry stands once for each `item`                                        |         |

Values may be Jinja expressions. Task arguments: `manifest` (default manifest.yml), and `validate` for the whole tree: with %s it
judges the staged copy of the tree, without it the files in their places, which are put back when it refuses them.
Returned: changed, paths_changed (list of paths), diff. What a run changed that did not come to its end is told as changed
once more, so that its handlers run after all. Secrets are not shipped this way: contents show in diffs.
"""

from __future__ import annotations

import base64
import os
import re
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

from jinku.on_host import OnHostError, run_on_host

KEYS = {"path", "state", "owner", "group", "mode", "validate", "source", "target", "purge", "loop"}
STATES = ("file", "directory", "link", "absent")
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")


class ActionModule(ActionBase):
    """The `tree` action: renders on the controller, compares and writes on the host."""

    _VALID_ARGS = frozenset(("manifest", "validate"))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the one run; raises AnsibleActionFail when the manifest is wrong."""
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        root = str(task_vars.get("role_path") or task_vars["playbook_dir"])
        manifest = os.path.join(root, str(self._task.args.get("manifest", "manifest.yml")))
        entries = [self._entry(root, manifest, one, scope) for one, scope in self._expanded(manifest, task_vars)]
        paths = [entry["path"] for entry in entries]
        if doubled := sorted({path for path in paths if paths.count(path) > 1}):
            raise AnsibleActionFail(f"{manifest}: {', '.join(doubled)}: listed twice; name each path once")
        arguments = {"entries": entries, "validate": self._task.args.get("validate")}
        try:
            return run_on_host(
                self._low_level_execute_command,
                "tree",
                arguments,
                check_mode=self._task.check_mode,
                diff=self._task.diff,
            )
        except OnHostError as error:
            raise AnsibleActionFail(str(error)) from error

    def _expanded(self, manifest: str, task_vars: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return (templated entry, variables for its template) for every entry and every item of its loop."""
        expanded = []
        for entry in self._loader.load_from_file(manifest, trusted_as_template=True) or []:
            for key in entry:
                if key not in KEYS:
                    raise AnsibleActionFail(f"{manifest}: {key}: unknown key; one of {', '.join(sorted(KEYS))}")
            scopes = [{"ansible_managed": "Ansible managed", **task_vars}]
            if "loop" in entry:
                items = self._templar.copy_with_new_env(available_variables=task_vars).template(entry["loop"])
                scopes = [{**scopes[0], "item": item} for item in items]
            rest = {key: value for key, value in entry.items() if key != "loop"}
            expanded += [
                (self._templar.copy_with_new_env(available_variables=scope).template(rest), scope) for scope in scopes
            ]
        return expanded

    def _entry(self, root: str, manifest: str, raw: dict[str, Any], scope: dict[str, Any]) -> dict[str, Any]:
        """Return one entry as plugins/on_host/tree.py takes it, contents in base64."""
        path, state = str(raw.get("path", "")), str(raw.get("state", "file"))
        if not os.path.isabs(path) or os.path.normpath(path) != path:
            raise AnsibleActionFail(f"{manifest}: path: {path!r} is not a plain absolute path; give it as on the host")
        if state not in STATES:
            raise AnsibleActionFail(f"{manifest}: {path}: state {state!r} is unknown; one of {', '.join(STATES)}")
        mode = str(raw.get("mode", ""))
        if state in ("file", "directory") and not re.fullmatch(r"[0-7]{4}", mode):
            raise AnsibleActionFail(
                f'{manifest}: {path}: mode {mode!r} is not an octal mode; such as "0644", in quotes'
            )
        if state == "link" and not raw.get("target"):
            raise AnsibleActionFail(f"{manifest}: {path}: a link without a target; add target")
        entry = {
            "path": path,
            "state": state,
            "owner": str(raw.get("owner", "root")),
            "group": str(raw.get("group", "root")),
            "mode": mode,
            "validate": raw.get("validate"),
            "target": raw.get("target"),
            "purge": bool(raw.get("purge", False)),
        }
        if state == "file":
            content = self._content(root, manifest, path, str(raw.get("source", path)).lstrip("/"), scope)
            if PRIVATE_KEY.search(content):
                raise AnsibleActionFail(
                    f"{manifest}: {path}: holds a private key; secrets are written on the host itself"
                )
            entry["content"] = base64.b64encode(content).decode()
        return entry

    def _content(self, root: str, manifest: str, path: str, source: str, scope: dict[str, Any]) -> bytes:
        """Return the bytes for one path: the template, rendered as ansible.builtin.template does, or the plain file."""
        plain = os.path.join(root, "files", source)
        if os.path.isfile(plain):
            with open(plain, "rb") as stream:
                return stream.read()
        template = os.path.join(root, "templates", source + ".j2")
        if not os.path.isfile(template):
            raise AnsibleActionFail(
                f"{manifest}: {path}: neither files/{source} nor templates/{source}.j2; add one of them"
            )
        folders = [root, os.path.dirname(template)]
        search = [place for folder in folders for place in (os.path.join(folder, "templates"), folder)]
        templar = self._templar.copy_with_new_env(searchpath=search, available_variables=scope)
        text = trust_as_template(self._loader.get_text_file_contents(template))
        rendered = templar.template(text, escape_backslashes=False, overrides={"trim_blocks": True})
        return str("" if rendered is None else rendered).encode()
