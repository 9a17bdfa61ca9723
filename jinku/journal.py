# SPDX-License-Identifier: Apache-2.0
"""The journal of an environment: one JSON line for each `up`, `update` and `destroy`: who, which commit, which plan, what came of it."""

import hashlib
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinku.lock import user
from jinku.places import CHECKOUT, Places

SCHEMA = "jinku/journal/1"


def commit() -> str:
    """Commit of the checkout, with ``+changed`` when files differ from it; ``unknown`` outside a git checkout."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(CHECKOUT), *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(done.stderr)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changed" if git("status", "--porcelain", "-uno") else "")
    except OSError:
        return "unknown"


def plan_digest(environment_file: Path, commit_id: str) -> str:
    """SHA-256 of what decides the plan: the operator's choices and the version of Jinku's code."""
    return hashlib.sha256(environment_file.read_bytes() + commit_id.encode()).hexdigest()


def write(places: Places, verb: str, environment_file: Path, result: dict[str, Any]) -> None:
    """Append one line; the file is created with mode 0600.

    ``result``: what the verb knows, JSON values only: ``ok`` (bool), ``seconds`` (float) and numbers of changes.
    """
    commit_id = commit()
    line = {
        "schema": SCHEMA,
        "time": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "verb": verb,
        "environment": places.name,
        "who": user(),
        "commit": commit_id,
        "plan_digest": plan_digest(environment_file, commit_id),
        **result,
    }
    handle = os.open(places.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(handle, "a", encoding="utf-8") as journal:
        journal.write(json.dumps(line, ensure_ascii=False) + "\n")
