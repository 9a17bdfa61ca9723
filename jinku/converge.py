# SPDX-License-Identifier: Apache-2.0
"""Runs ansible-playbook on the environment and understands what it does: progress, time per role, changes per host."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinku.places import CHECKOUT

_PREFIX = "\x1ejinku "  # as in plugins/callback/jinku_events.py


@dataclass(frozen=True)
class Change:
    """One task changed, or under --check would change, one host."""

    host: str
    role: str
    task: str
    paths: tuple[str, ...] = ()
    diff: str = ""


@dataclass(frozen=True)
class Trouble:
    """One task failed on one host, or the host could not be reached."""

    host: str
    role: str
    task: str
    text: str
    unreachable: bool = False


@dataclass
class Convergence:
    """What came of a run. ``hosts``: Ansible's numbers by host; ``roles`` and ``tasks``: seconds."""

    code: int = 0
    seconds: float = 0.0
    hosts: dict[str, dict[str, int]] = field(default_factory=dict)
    roles: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    tasks: list[tuple[str, str, float]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def changed(self) -> dict[str, int]:
        """Changed tasks by host, as Ansible counted them."""
        return {host: numbers.get("changed", 0) for host, numbers in self.hosts.items()}


OnTask = Callable[[str, str, float | None, int], None]
"""Called with role, task, seconds (None as it starts) and the number of hosts that changed."""


class _Reader:
    """Follows the events of one run."""

    def __init__(self, result: Convergence, on_task: OnTask) -> None:
        self._result, self._on_task = result, on_task
        self._task: tuple[str, str] | None = None
        self._since = 0.0
        self._changed = 0

    def event(self, event: dict[str, Any]) -> None:
        """Take one event."""
        kind = event["event"]
        if kind == "task":
            self.turn((event["role"], event["task"]))
        elif kind in {"play", "stats"}:
            self.turn(None)
        if kind == "stats":
            self._result.hosts = event["hosts"]
            self._result.troubles = [one for one in self._result.troubles if self._stands(one)]
        if kind == "result":
            self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        role, task = self._task or ("", "")
        if event["status"] == "changed":
            self._changed += 1
            self._result.changes.append(Change(event["host"], role, task, tuple(event["paths"]), event["diff"]))
        else:
            trouble = Trouble(event["host"], role, task, event["text"], event["status"] == "unreachable")
            self._result.troubles.append(trouble)

    def _stands(self, trouble: Trouble) -> bool:
        """Whether Ansible counts it in the end: what a `rescue` took up is none."""
        numbers = self._result.hosts.get(trouble.host)
        return numbers is None or bool(numbers.get("failures") or numbers.get("unreachable"))

    def turn(self, task: tuple[str, str] | None) -> None:
        """The present task ends, and ``task`` begins."""
        now = time.monotonic()
        if self._task:
            seconds = now - self._since
            self._result.roles[self._task[0]] += seconds
            self._result.tasks.append((*self._task, seconds))
            self._on_task(*self._task, seconds, self._changed)
        self._task, self._since, self._changed = task, now, 0
        if task:
            self._on_task(*task, None, 0)


def ansible_env(environment: Path) -> dict[str, str]:
    """Environment variables of a run that `jinku` follows. ``environment``: folder of environment.yaml."""
    return {
        **os.environ,
        "JINKU_ENV": str(environment),
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "jinku_events",
        "ANSIBLE_NOCOLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }


def run(environment: Path, arguments: list[str], on_task: OnTask, playbook: str = "site.yml") -> Convergence:
    """Run a playbook of the checkout to its end.

    :param environment: folder of environment.yaml.
    :param arguments: more arguments of ansible-playbook, such as ``--check --diff``.
    :param on_task: told of each task.
    :param playbook: its file.
    :returns: what came of it; ``code`` is ansible-playbook's own, and whatever it printed that is no event is in ``other``.
    """
    result = Convergence()
    reader = _Reader(result, on_task)
    program = shutil.which("ansible-playbook", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if program is None:
        raise FileNotFoundError("ansible-playbook: is missing; `tools/bootstrap.sh` installs it")
    begun = time.monotonic()
    # setpriv: a run must not go on by itself after its jinku was killed and another one has begun
    supervised = [sys.executable, "-m", "jinku.supervise", program]
    command = ["setpriv", "--pdeathsig", "TERM", "--", *supervised, playbook, *arguments]
    with subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=ansible_env(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            if line.startswith(_PREFIX):
                reader.event(json.loads(line[len(_PREFIX) :]))
            elif line.strip():
                result.other.append(line.rstrip())
    reader.turn(None)
    result.code = process.returncode
    result.seconds = time.monotonic() - begun
    return result
