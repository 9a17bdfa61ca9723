# SPDX-License-Identifier: Apache-2.0
"""A world of its own for each test: its lines, its losses."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from log_world import World


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Nothing runs in it but the journal; its parameter says who receives."""
    made = World(tmp_path, getattr(request, "param", "log"))
    try:
        yield made
    finally:
        made.keeper.kill()
        made.keeper.wait()
        for folder in Path("/sys/fs/cgroup").glob(f"**/jinku{os.getpid()}.slice"):
            (folder / "jinku-log-seal.service").rmdir()
            folder.rmdir()
