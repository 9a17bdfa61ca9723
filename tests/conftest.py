# SPDX-License-Identifier: Apache-2.0
"""Which tests may run beside each other: `make test-pure` has a process for each of two cores."""

from pathlib import Path, PurePath

import pytest
from xdist.scheduler import LoadScopeScheduling

#: What makes hosts, mounts or networks on this machine: never two of these at once.
MACHINE = (
    "log_delivery",
    "provider",
    "test_interrupted_up.py",
    "test_provider_systemd.py",
    "test_volume_program.py",
    "test_volume_disks.py",
)


def group(nodeid: str) -> str:
    """Name of what a test may not be parted from: its module, its folder (they share a server), or all that change the machine."""
    first = PurePath(nodeid.partition("::")[0]).parts[1]
    return "machine" if first in MACHINE else first


@pytest.fixture
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State and cache of the test's own; no environment chosen by the shell."""
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("JINKU_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("JINKU_ENV", raising=False)


class Groups(LoadScopeScheduling):
    """Gives a group as a whole to one process. xdist's own `loadgroup` sets a name that pytest 9 no longer reads."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Hook of xdist."""
    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """:raises pytest.UsageError: a test changes the machine, and its module is not in the list."""
    for item in items:
        if item.get_closest_marker("lab") and group(item.nodeid) != "machine":
            raise pytest.UsageError(
                f"{item.nodeid}: is marked `lab`; its module stands in MACHINE of tests/conftest.py"
            )
