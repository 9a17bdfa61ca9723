# SPDX-License-Identifier: Apache-2.0
"""These tests change the running lab's environment: they are collected only when asked for by their mark."""

from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "acme: gets the edge's certificate from a real ACME service, on the running lab")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if collection_path.suffix == ".py" and config.getoption("markexpr") != "acme" else None
