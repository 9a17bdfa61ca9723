# SPDX-License-Identifier: Apache-2.0
"""The first set-up of the CRM's database runs beside the other stages; the role waits for it (roles/crm/files/converge.sh)."""

import contextlib
import importlib
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml

from jinku.places import CHECKOUT

SCRIPT = (CHECKOUT / "roles/crm/files/converge.sh").read_text()
#: A unit that is in the state of the file, and what it said at this run and at an earlier one.
SYSTEMCTL = """
systemctl() {
    case $1 in
        show) echo f00d ;;
        is-failed) test "$(cat state)" = failed ;;
        *) echo "$*" >>said ;;
    esac
}
journalctl() { case "$*" in *_SYSTEMD_INVOCATION_ID=f00d*) echo "trytond-admin: sale: not activated" ;; *) echo "long ago" ;; esac; }
"""


def told(folder: Path, state: str, check: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script's own function on a unit in a state."""
    (folder / "state").write_text(f"{state}\n")
    found = re.search(r"^tell_of_a_failed_first_set_up\(\) \{.*?^\}", SCRIPT, re.MULTILINE | re.DOTALL)
    assert found
    text = f"set -euo pipefail\ncheck={check}\n{SYSTEMCTL}{found[0]}\ntell_of_a_failed_first_set_up\necho goes on\n"
    return subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False, cwd=folder)


def test_one_that_failed_is_told_once_with_its_last_words_and_the_role_goes_on(tmp_path: Path) -> None:
    done = told(tmp_path, "failed")
    assert (done.returncode, done.stdout) == (0, "goes on\n")
    assert done.stderr == "jinku-crm-setup.service: failed; its last words: trytond-admin: sale: not activated\n"
    assert (tmp_path / "said").read_text() == "reset-failed jinku-crm-setup.service\n"


@pytest.mark.parametrize(("state", "check"), [("inactive", ""), ("failed", "1")])
def test_nothing_is_told_or_touched_where_none_failed_or_in_check_mode(tmp_path: Path, state: str, check: str) -> None:
    done = told(tmp_path, state, check)
    assert (done.returncode, done.stdout, done.stderr) == (0, "goes on\n", "")
    assert not (tmp_path / "said").exists()


def test_it_is_waited_for_before_its_files_are_replaced_and_begun_only_where_nothing_runs() -> None:
    tasks = CHECKOUT / "roles/crm/tasks"
    wait, ship, *_ = yaml.safe_load((tasks / "main.yml").read_text())
    assert "systemctl start jinku-crm-setup.service" in wait["ansible.builtin.raw"]
    assert ship["ansible.builtin.import_tasks"] == "files.yml"
    ask, begin = yaml.safe_load((tasks / "begin.yml").read_text())
    assert all(unit in ask["ansible.builtin.raw"] for unit in ("jinku-crm.service", "jinku-crm-setup.service"))
    assert "__crm_runs.rc != 0" in begin["when"]
    assert begin["rescue"], "a stage that only saves time must not end the run"


class Connection:
    """What `_locked` sees of a connection: what is run on it, in which mode, and that it is closed."""

    def __init__(self) -> None:
        self.autocommit, self.closed, self.ran = False, False, []

    def cursor(self):
        return contextlib.nullcontext(self)

    def execute(self, statement: str) -> None:
        assert self.autocommit, "a transaction that only waits would be ended by the server"
        self.ran.append(statement)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch):
    """The program, without Tryton."""
    monkeypatch.syspath_prepend(CHECKOUT / "roles/crm/files/crm")
    stub = types.ModuleType("psycopg2")
    stub.connect = None
    monkeypatch.setitem(sys.modules, "psycopg2", stub)
    for name in [name for name in sys.modules if name.partition(".")[0] == "jinku_crm"]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("jinku_crm.setup")


def test_the_lock_is_held_while_something_is_done_and_given_back_whatever_happens(setup, monkeypatch) -> None:
    connection = Connection()
    monkeypatch.setattr(setup, "_connect", lambda _: connection)
    held = []

    def work() -> None:
        with setup._locked("crm"):
            held.append((list(connection.ran), connection.closed))
            raise ValueError("broke")

    with pytest.raises(ValueError, match="broke"):
        work()
    assert held == [([setup.LOCK], False)]
    assert connection.closed


@pytest.mark.parametrize(
    ("activated", "done"), [(set(), ["modules", "company"]), ({"ir", "res"}, []), ({"ir", "party"}, [])]
)
def test_the_early_set_up_touches_no_database_in_which_a_module_is_active(setup, monkeypatch, activated, done) -> None:
    monkeypatch.setattr(setup, "_wanted", lambda _: {"modules": "new", "company": "new"})
    monkeypatch.setattr(setup, "_found", lambda _: {"activated": activated, "first_login_until": None})
    settings = types.SimpleNamespace(database="crm", modules=["ir", "party"])
    answer = setup._bring(settings, setup._arguments(["--new", "--check"]))
    assert answer["changes"] == done


def test_it_is_begun_once_the_password_exists_and_before_the_stages_that_need_no_crm() -> None:
    plays = yaml.safe_load((CHECKOUT / "site.yml").read_text())
    tags = [tag for play in plays for task in play["tasks"] for tag in task["tags"]]
    order = [
        "postgres",
        "vault_database",
        "crm_begin",
        "metrics",
        "log",
        "logging",
        "crm",
        "backup",
        "monitor",
        "integrity",
    ]
    assert [tag for tag in tags if tag in order] == order
