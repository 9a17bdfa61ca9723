# SPDX-License-Identifier: Apache-2.0
"""An environment that an earlier Jinku brought up, with data in it, is taken over by this one. A lab of its own; a quarter of an hour."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from any_lab import party

from jinku.cli.exit_codes import ExitCode
from jinku.places import CHECKOUT, Places, cache_root
from stacks.provider.lab import leftovers

pytestmark = [
    pytest.mark.usefixtures("folder"),
    pytest.mark.upgrade,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes a lab"),
]
NAME = "upgrade"
#: The version before: the newest commit that was landed before this one's work began.
EARLIER = os.environ.get("JINKU_UPGRADE_FROM", "d47bb94")
SITES = {"a": {"title": "only site", "network": "10.195.0.0/24", "network6": "fd95:a::/56"}}
CUSTOMER = "示例客户 before the upgrade"
#: True of this environment, and rightly a finding: what belongs to another site has none to be at.
ONE_SITE = "at another site"
LAB = {"wan": "172.29.195.0/24", "wan6": "fd95:ff::/64", "link": "172.30.195.0/29", "link6": "fd95:fe::/64"}


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[Path]:
    """The earlier Jinku, checked out and installed beside this one."""
    place = tmp_path / "earlier"
    subprocess.run(
        ["git", "-C", CHECKOUT, "worktree", "add", "--detach", place, EARLIER], check=True, capture_output=True
    )
    try:
        subprocess.run([place / "tools/bootstrap.sh"], check=True, cwd=place)
        yield place
    finally:
        subprocess.run(["git", "-C", CHECKOUT, "worktree", "remove", "--force", place], check=True)


@pytest.fixture
def folder(tmp_path: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An environment as the earlier `init` wrote it."""
    monkeypatch.setenv("JINKU_CACHE_DIR", str(cache_root()))
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "s"))
    made = tmp_path / NAME
    subprocess.run([earlier / ".venv/bin/jinku", "init", made], check=True, capture_output=True)
    file = made / "environment.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"sites": SITES, "lab": LAB}, allow_unicode=True))
    monkeypatch.setenv("JINKU_ENV", str(made))
    asyncio.run(leftovers.sweep(NAME, with_volumes=True))  # of a run that was killed
    yield made
    run(CHECKOUT, "destroy", "--yes")
    asyncio.run(leftovers.sweep(NAME, with_volumes=True))


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of one of the two."""
    jinku = checkout / ".venv/bin/jinku" if checkout != CHECKOUT else Path(sys.executable).with_name("jinku")
    environment = {**os.environ, "PATH": f"{jinku.parent}:{os.environ['PATH']}"}
    return subprocess.run(
        [jinku, *words],
        cwd=checkout,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def test_this_jinku_takes_over_what_an_earlier_one_built(earlier: Path) -> None:
    before = run(earlier, "up")
    assert "did not come up" not in before.stdout, before.stdout[-5000:]
    assert party(Places(NAME), "crm1", CUSTOMER, make=True) == 1

    plan = run(CHECKOUT, "plan")
    assert plan.returncode == ExitCode.OK, plan.stdout[-5000:]
    up = run(CHECKOUT, "up")
    print(up.stdout)
    assert "did not come up" not in up.stdout, up.stdout[-5000:]
    unmet = [line for line in up.stdout.splitlines() if line.strip().startswith(("nonconform:", "partial:"))]
    assert not [line for line in unmet if ONE_SITE not in line], "a finding that is not of having one site only"
    assert party(Places(NAME), "crm1", CUSTOMER) == 1
    status = run(CHECKOUT, "status")
    assert status.returncode == ExitCode.OK, status.stdout
    again = run(CHECKOUT, "plan")
    assert "nothing to change" in again.stdout, again.stdout[-5000:]
