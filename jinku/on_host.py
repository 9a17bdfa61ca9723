# SPDX-License-Identifier: Apache-2.0
"""Runs a Python program of plugins/on_host on a host, for the actions of plugins/action.

An Ansible module brings 180 KB of Ansible's own code in a zip that the host compiles anew each time: half a second of its
processor, thirty times a host in a run that changes nothing. These programs need the standard library only and take a fifth
of that (ADR 31). Sources and arguments go to standard input, so that no argument of a process shows either.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .places import CHECKOUT

FOLDER = CHECKOUT / "plugins" / "on_host"
PYTHON = "/usr/bin/python3"
#: Shell command by which an action tells hardening/integrity that Jinku itself changed the host; `tree` writes its paths there.
MARK = "test ! -d /var/lib/jinku || touch /var/lib/jinku/changed"
#: Registers each source as a module, in the order given, and calls `main` of the last one.
BOOTSTRAP = """
import json, sys, types
given = json.load(sys.stdin)
for name, source in given["sources"]:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name + ".py", "exec"), module.__dict__)
module.main(sys.modules["host_task"].HostTask(given["params"], given["check_mode"], given["diff"]))
"""


class OnHostError(Exception):
    """A program ended without a result; its last words are the text."""


def run_on_host(
    execute: Callable[..., dict[str, Any]], program: str, params: dict[str, Any], *, check_mode: bool, diff: bool
) -> dict[str, Any]:
    """Run plugins/on_host/<program>.py on a host and return the result that it ended with.

    `execute` is the action's _low_level_execute_command; what it raises when the host is away, passes. Raises OnHostError
    with the last line that the host said when the program ended without a result.
    """
    sources = [[name, _source(name)] for name in ("host_task", program)]
    given = {"sources": sources, "params": params, "check_mode": check_mode, "diff": diff}
    done = execute(f"{PYTHON} -I -c {shlex.quote(BOOTSTRAP)}", in_data=json.dumps(given).encode())
    lines = done["stdout"].strip().splitlines()
    if done["rc"] == 0 and lines:
        try:
            result = json.loads(lines[-1])
        except ValueError:
            result = None
        if isinstance(result, dict):
            return result
    said = (done["stderr"].strip() or done["stdout"].strip()).splitlines()
    raise OnHostError(f"{program}: ended with {done['rc']} on the host: {said[-1] if said else 'no word'}")


def _source(name: str) -> str:
    return Path(FOLDER, f"{name}.py").read_text(encoding="utf-8")
