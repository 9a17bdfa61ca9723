# SPDX-License-Identifier: Apache-2.0
"""A check from outside: run the compliance tests as a process, read what they found, write the reports."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from jinku.evidence.private import private_folder, write_private
from jinku.evidence.records import CheckResult
from jinku.evidence.report import render
from jinku.places import CHECKOUT, Places

TESTS = CHECKOUT / "compliance_tests"
#: Name of the newest result in the folder of reports.
RESULT = "check.json"
#: The same of a check that looked at some nodes, or at settings only.
PARTIAL = "check-of-some.json"
#: At the end of each line of dots pytest says how far it is.
_SO_FAR = re.compile(r"\[ *(\d+)%\]$")
#: Folders of tests that change something and run by commands of their own; they may need packages that a check does not.
NOT_CHECKED = ("browser", "faults", "sabotage")


class CheckError(Exception):
    """The check could not be made at all: the tests do not collect, or a catalogue or controls.yaml does not read."""


def pytest_arguments(document: Path, nodes: Sequence[str] = (), *, read_only: bool = False) -> list[str]:
    """Arguments with which pytest collects exactly the tests of a check. ``document``: where it writes what it found."""
    return [
        str(TESTS),
        *(f"--ignore={TESTS / folder}" for folder in NOT_CHECKED),
        "-q",
        "--no-header",
        "--tb=native",  # the cheapest: pytest makes a traceback even for what nobody prints
        *("-p", "no:cacheprovider", "-p", "no:logging", "-p", "no:doctest", "-p", "no:junitxml"),
        f"--rootdir={CHECKOUT}",
        "--evidence",
        str(document.resolve()),
        *(word for node in nodes for word in ("--node", node)),
        *(["--read-only"] if read_only else []),
    ]


def pytest_environment(places: Places) -> dict[str, str]:
    """Variables of the process in which the compliance tests run."""
    return {
        **os.environ,
        # No plugin but our own: whatever else is installed would cost seconds and may change what runs.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # Whoever runs the check cannot leave out tests by their own shell's settings, and have it look whole.
        "PYTEST_ADDOPTS": "",
        "PYTEST_PLUGINS": "",
        # Compiled tests are kept, outside the checkout; an empty value is the same as none.
        "PYTHONPYCACHEPREFIX": str(places.cache / "pycache"),
        "PYTHONDONTWRITEBYTECODE": "",
    }


def run_check(
    places: Places,
    environment_dir: Path,
    json_path: Path | None = None,
    *,
    nodes: Sequence[str] = (),
    read_only: bool = False,
    so_far: Callable[[int], None] = lambda _: None,
) -> CheckResult:
    """Look at a running environment; what a test tries, it takes back.

    ``environment_dir``: folder of environment.yaml. ``json_path``: where the document goes; default is a folder of its
    own under ``places.reports``, named by the time. ``nodes``: only these, else all. ``read_only``: only the tests of
    settings, so that nothing is tried. ``so_far``: hears now and then how many percent of the tests have run. An
    unreachable host becomes ``not_tested``; the others are looked at.

    :raises CheckError: with the end of pytest's output.
    """
    path = json_path or new_document(places, whole=not (nodes or read_only))
    path.unlink(missing_ok=True)
    environment = {**pytest_environment(places), "JINKU_ENV": str(environment_dir)}
    command = [sys.executable, "-m", "pytest", *pytest_arguments(path, nodes, read_only=read_only)]
    with subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        said = []
        for line in running.stdout or ():
            said.append(line.rstrip("\n"))
            if found := _SO_FAR.search(said[-1]):
                so_far(int(found[1]))
    # 0: all passed, 1: some failed; both are results. Everything else is no result (pytest's documented exit codes).
    # A Python that dies of an exception ends with 1, too, so that a document without any record is no result either.
    result = read_result(path) if running.returncode in (0, 1) and path.exists() else None
    if result is None or not result.records:
        tail = "\n".join(said[-30:])
        raise CheckError(f"{TESTS}: the compliance tests did not run (exit code {running.returncode}):\n{tail}")
    return result


def new_document(places: Places, *, whole: bool) -> Path:
    """Where the document of a check that begins now goes, in a folder of its own (0700).

    One that is not of the ``whole`` environment, with every test, has another name, so that it never stands for it.
    """
    private_folder(places.reports)
    path = places.reports / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ") / (RESULT if whole else PARTIAL)
    private_folder(path.parent)
    return path


def latest_result(places: Places) -> Path | None:
    """The document of the newest check of the whole environment; ``None`` if there was none."""
    found = sorted(places.reports.glob(f"*/{RESULT}"))
    return found[-1] if found else None


def read_result(path: Path) -> CheckResult:
    """Read a ``jinku/check/1`` document.

    :raises CheckError: it is no such document.
    """
    try:
        return CheckResult.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise CheckError(
            f"{path}: schema: is no document of a check ({error}); a file that `jinku check` wrote"
        ) from error


def write_reports(result: CheckResult, folder: Path) -> dict[str, Path]:
    """Write the report in both languages: ``{"zh": .../report.zh.html, "en": .../report.en.html}``.

    Each is one self-contained file, readable by its owner only, for outputs say much about the hosts.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # the caller's own folder keeps its mode
    written = {}
    for language in ("zh", "en"):
        path = folder / f"report.{language}.html"
        write_private(path, render(result, language))
        written[language] = path
    return written
