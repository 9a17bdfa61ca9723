# SPDX-License-Identifier: Apache-2.0
"""A check with tests and hosts made up here; every channel ends on this machine."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime

from jinku.places import CHECKOUT

CONFTEST = """
import pytest
from jinku.evidence.channel import far_end
pytest_plugins = ["jinku.evidence.plugin"]
@pytest.hookimpl(tryfirst=True)
def pytest_jinku_argv(node):
    if node == "db1":
        return ["sh", "-c", "echo 'No route to host' >&2; exit 255"]
    return ["sh", "-c", far_end(sudo=False)]
"""
TESTS = '''
import pytest

@pytest.mark.control("dengbao:8.1.4.1.c", "iso27001:A.8.5")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_telnet_is_absent(host):
    """No telnet server listens.

    zh: 没有 telnet 服务。
    """
    assert host.run("echo 13812345678 '<script>alert(1)</script>'").rc == 0

@pytest.mark.control("dengbao:8.1.4.1.c")
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_telnet_is_refused(host, subject):
    assert subject.node != "crm1", "crm1 answers on 23"
    if subject.node == "ops1":
        pytest.skip("declined")
    if subject.node == "aud1":
        raise ValueError("broke")
    host.run("true")

@pytest.mark.sabotage
def test_breaks_things():
    raise SystemExit(3)
'''
#: One test, and what it rests on, which does what is put in.
SETUP = """
import pytest

@pytest.fixture
def monitor(host):
    host.run("true")
    %s

@pytest.mark.control("dengbao:8.1.4.1.c")
@pytest.mark.objects("edge")
@pytest.mark.setting
def test_rests(monitor):
    pass
"""


def place(folder, tests):
    """Write these tests, and whom they ask, into a folder."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_made_up.py").write_text(tests)


def run(folder, tests=TESTS, *options):
    """Check with these tests; what pytest said, and the document."""
    place(folder, tests)
    document = folder / "check.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            str(folder),
            "-q",
            "-p",
            "no:cacheprovider",
            f"--rootdir={folder}",
            "--evidence",
            str(document),
            *options,
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env={**os.environ, "JINKU_STATE_DIR": str(folder)},  # never this machine's own state
    )
    return done, document


def declare(text, folder, monkeypatch):
    """Have the next run be about the lab with this controls.yaml, signed today."""
    place = folder / "lab"
    place.mkdir()
    shutil.copy(CHECKOUT / "inventories/lab/environment.yaml", place)
    (place / "controls.yaml").write_text(text.format(today=f"{datetime.now(UTC):%Y-%m-%d}"))
    monkeypatch.setenv("JINKU_ENV", str(place))
