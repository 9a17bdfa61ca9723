# SPDX-License-Identifier: Apache-2.0
"""The first set-up of the CRM's database runs beside the other stages; the role waits for it (roles/crm/files/converge.sh)."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from jinku.places import CHECKOUT

SCRIPT = (CHECKOUT / "roles/crm/files/converge.sh").read_text()
#: A unit that is in the state $STATE, and in $AFTER once a start has waited for it.
SYSTEMCTL = """
systemctl() {
    case $1 in
        show) cat state ;;
        is-failed) test "$(cat state)" = failed ;;
        *) echo "$*" >>said; [ "$1" != start ] || echo "$AFTER" >state; test "$(cat state)" != failed ;;
    esac
}
journalctl() { echo "trytond-admin: sale: not activated"; }
"""


def waited(folder: Path, state: str, after: str = "inactive", check: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script's own function on a unit in a state."""
    (folder / "state").write_text(f"{state}\n")
    found = re.search(r"^wait_for_the_first_set_up\(\) \{.*?^\}", SCRIPT, re.MULTILINE | re.DOTALL)
    assert found
    text = f"set -euo pipefail\ncheck={check}\nAFTER={after}\n{SYSTEMCTL}{found[0]}\nwait_for_the_first_set_up\n"
    return subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False, cwd=folder)


def test_a_set_up_that_is_under_way_is_waited_for(tmp_path: Path) -> None:
    done = waited(tmp_path, "activating")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "said").read_text() == "start jinku-crm-setup.service\n"


@pytest.mark.parametrize("state", ["activating", "failed"])
def test_one_that_failed_is_told_once_with_its_last_words(tmp_path: Path, state: str) -> None:
    done = waited(tmp_path, state, after="failed")
    assert done.returncode == 1
    assert "jinku-crm-setup.service: failed; its last words: trytond-admin: sale: not activated" in done.stderr
    assert (tmp_path / "said").read_text().endswith("reset-failed jinku-crm-setup.service\n")


@pytest.mark.parametrize(("state", "check"), [("inactive", ""), ("activating", "1"), ("failed", "1")])
def test_nothing_is_started_where_none_was_begun_or_in_check_mode(tmp_path: Path, state: str, check: str) -> None:
    assert waited(tmp_path, state, check=check).returncode == 0
    assert not (tmp_path / "said").exists()


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
