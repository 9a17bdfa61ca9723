# SPDX-License-Identifier: Apache-2.0
"""A session of pytest for each sabotage, forked from a process that has imported what they all need: that alone takes two seconds."""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

#: Nothing here opens a connection or starts a thread when it is imported.
IMPORTED = ["hvac", "pytest", "testinfra", "jinku.evidence.plugin", "jinku.people_access", "jinku.vault"]
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(IMPORTED)


def _main(arguments: Sequence[str], folder: Path, variables: Mapping[str, str], output: Path) -> None:
    with output.open("wb") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    os.environ.clear()
    os.environ.update(variables)
    sys.pycache_prefix = variables.get("PYTHONPYCACHEPREFIX")
    sys.dont_write_bytecode = bool(variables.get("PYTHONDONTWRITEBYTECODE"))
    os.chdir(folder)
    sys.exit(pytest.main(list(arguments)))


def session(
    arguments: Sequence[str], *, folder: Path, variables: Mapping[str, str], output: Path, seconds: float
) -> str:
    """Run pytest in a process of its own.

    ``folder``: where it runs. ``variables``: its whole environment. ``output``: file that gets what it prints. ``seconds``: how long it may take.

    :returns: what it printed.
    :raises TimeoutError: it took longer; it was ended.
    """
    process = _forks.Process(target=_main, args=(list(arguments), folder, dict(variables), output))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.terminate()
        process.join()
        raise TimeoutError(f"{' '.join(arguments)}: not done after {seconds:.0f} s")
    return output.read_text(encoding="utf-8", errors="replace")
