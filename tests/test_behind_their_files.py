# SPDX-License-Identifier: Apache-2.0
"""When a service was last told what its files hold (compliance_tests/running_settings.py), from what systemd says."""

import importlib
import subprocess
from types import SimpleNamespace

import pytest

from jinku.places import CHECKOUT

STARTED, RELOADED = "Sun 2026-11-29 10:00:00.500000 UTC", "Sun 2026-11-29 11:00:00.250000 UTC"
AT_START, AT_RELOAD = 1795946400.5, 1795950000.25
OWN = "/usr/sbin/one -n"


@pytest.fixture
def behind(monkeypatch, tmp_path):
    """Answers for a unit that was started and (unless `changed_state` is its start) reloaded, with a file that changed `at`."""
    monkeypatch.syspath_prepend(CHECKOUT / "compliance_tests")
    module = importlib.import_module("running_settings")

    def asked(*, at, reloads=True, changed_state=RELOADED, words=OWN, **more):
        state = {
            "ActiveState": "active",
            "ReloadResult": "success",
            "NeedDaemonReload": "no",
            "InactiveExitTimestamp": "Sun 2026-11-29 10:00:00.500000 UTC",
            "ActiveEnterTimestamp": STARTED,
            "StateChangeTimestamp": changed_state,
            **more,
        }

        class Host:
            backend = SimpleNamespace(hostname="one1")

            def check_output(self, command):
                if command.startswith("systemctl show"):
                    return "\n".join(f"{name}={value}" for name, value in state.items())
                if at is None:  # as a shell says it where there is no such file
                    for name, says in (("ps", words), ("systemctl", "1")):
                        (tmp_path / name).write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
                        (tmp_path / name).chmod(0o755)
                    paths = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
                    return subprocess.run(
                        ["sh", "-c", command], env=paths, capture_output=True, text=True, check=True
                    ).stdout.rstrip()
                return f"newest {at} /etc/jinku-one.conf\nruns {words}"

        return module.behind_their_files(Host(), module.Reader("one.service", "/etc/jinku-one.conf", reloads, OWN))

    return asked


def test_what_was_read_at_the_start_or_by_a_reload_is_in_force(behind):
    assert behind(at=AT_START - 1, reloads=False) == []
    assert behind(at=AT_RELOAD - 1) == []
    assert behind(at=AT_START - 1, changed_state=STARTED) == []


def test_a_file_that_changed_since_is_told_with_its_remedy(behind):
    (told,) = behind(at=AT_RELOAD + 0.01)
    assert (
        told
        == "one.service was not told of the last change of /etc/jinku-one.conf (`jinku ssh one1 -- sudo systemctl reload one.service`)"
    )
    assert behind(at=AT_START + 0.01, changed_state=STARTED)
    (told,) = behind(at=AT_START + 0.01, reloads=False)
    assert told.endswith("sudo systemctl restart one.service`)"), (
        "a reload reads nothing of what is read at the start only"
    )


@pytest.mark.parametrize(
    "more",
    [
        {"ReloadResult": "exit-code"},
        {"NeedDaemonReload": "yes"},
        {"words": "/usr/sbin/one -n -f /run/other"},
        {"ActiveState": "failed"},
    ],
)
def test_a_refused_reload_another_unit_and_other_options_are_told(behind, more):
    assert len(behind(at=AT_START - 1, **more)) == 1


def test_settings_whose_files_are_gone_are_told(behind):
    (told,) = behind(at=None)
    assert told == "one.service has no file of its settings any more; `jinku up`"


def test_a_program_that_does_not_run_is_told(behind):
    """Neither its file nor its command line is there, and the last answer is an empty line."""
    assert behind(at=None, words="", ActiveState="inactive") == ["one.service is inactive"]
