# SPDX-License-Identifier: Apache-2.0
"""Which tests may run beside each other (`make test-pure` has a process for each of two cores)."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # xdist reads the mark in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A module stays in one process; so does what shares a server (a folder of tests), and what makes hosts on this machine."""
    for item in items:
        inside = item.path.relative_to(HERE).parts
        group = "hosts of their own" if item.get_closest_marker("lab") else inside[0]
        item.add_marker(pytest.mark.xdist_group(group))
