# SPDX-License-Identifier: GPL-3.0-or-later
"""What a program of plugins/on_host is given and how it ends; see jinku/on_host.py, which runs them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any, NoReturn


@dataclass
class HostTask:
    """One run of a program on the host: its arguments as the action filled them in, and Ansible's two modes."""

    params: dict[str, Any]
    check_mode: bool
    diff: bool
    warnings: list[str] = field(default_factory=list)

    def run_command(self, command: str | list[str]) -> tuple[int, str, str]:
        """Run a command without a shell and return its exit code, output and errors; 127 where there is no such program."""
        words = shlex.split(command) if isinstance(command, str) else command
        try:
            done = subprocess.run(words, check=False, capture_output=True, stdin=subprocess.DEVNULL)
        except OSError as error:
            return 127, "", f"{words[0]}: {error.strerror}"
        out, err = (text.decode("utf-8", errors="backslashreplace") for text in (done.stdout, done.stderr))
        return done.returncode, out, err

    def warn(self, text: str) -> None:
        """Have Ansible print a warning."""
        self.warnings.append(text)

    def end(self, **result: Any) -> NoReturn:
        """End well with Ansible's result."""
        self._say(result)

    def fail(self, text: str) -> NoReturn:
        """End with an error, in words for a person."""
        self._say({"failed": True, "msg": text})

    def _say(self, result: dict[str, Any]) -> NoReturn:
        if self.warnings:
            result["warnings"] = self.warnings
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
        sys.exit(0)
