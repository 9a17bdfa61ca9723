# SPDX-License-Identifier: Apache-2.0
"""How `jinku check` runs the control tests, and what it takes for a result."""

import os
import subprocess
import sys

import pytest
from made_up_check import TESTS, place

from jinku.evidence import run as check
from jinku.evidence.run import CheckError
from jinku.places import CHECKOUT, Places


def test_a_check_of_some_nodes_never_stands_for_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path))
    places = Places("lab")
    whole, some = check.new_document(places, whole=True), check.new_document(places, whole=False)
    assert whole != some
    for path in (places.reports, whole.parent):
        assert path.stat().st_mode & 0o777 == 0o700
    some.write_text("{}")
    assert check.latest_result(places) is None
    whole.write_text("{}")
    assert check.latest_result(places) == whole


def test_a_check_collects_with_the_packages_of_run_time_only(tmp_path):
    """Playwright is for the browser's tests, which a check does not run."""
    words = [*check.pytest_arguments(tmp_path / "check.json"), "--collect-only"]
    blocked = "import sys; sys.modules['playwright'] = None; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", blocked, *words],
        cwd=CHECKOUT,
        env={**os.environ, "JINKU_ENV": "lab", "JINKU_STATE_DIR": str(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "test_access.py::" in done.stdout
    assert "error" not in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("tests", ["import no_such_module\n", "def test_that_is_no_control():\n    assert False\n"])
def test_a_check_without_records_is_no_result(tests, tmp_path, monkeypatch):
    """Tests that do not collect and tests that record nothing must not read as `no finding`."""
    monkeypatch.setattr(check, "TESTS", tmp_path)
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    place(tmp_path, tests)
    with pytest.raises(CheckError, match="did not run"):
        check.run_check(Places("lab"), CHECKOUT / "inventories/lab")


def test_a_check_hears_how_far_it_is_and_no_setting_of_the_shell_leaves_a_test_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k no_test_has_this_name")
    monkeypatch.setattr(check, "TESTS", tmp_path)
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    place(tmp_path, TESTS)
    heard = []
    check.run_check(Places("lab"), CHECKOUT / "inventories/lab", tmp_path / "check.json", so_far=heard.append)
    assert heard[-1] == 100
