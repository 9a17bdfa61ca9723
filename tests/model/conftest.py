# SPDX-License-Identifier: Apache-2.0
"""The lab with changes: what is refused of it, and what becomes of it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab_choices import LAB, LabWith, Problems

from jinku.model import InputError, Topology, load_environment


@pytest.fixture
def problems(tmp_path: Path) -> Problems:
    """Load the lab with changes; return the problems, file name removed."""

    def load(changes: dict[str, Any]) -> list[str]:
        file = tmp_path / "environment.yaml"
        file.write_text(yaml.safe_dump({**copy.deepcopy(LAB), **changes}), encoding="utf-8")
        with pytest.raises(InputError) as caught:
            load_environment(file)
        assert all(line.startswith(f"{file}: ") for line in caught.value.problems)
        return [line.removeprefix(f"{file}: ") for line in caught.value.problems]

    return load


@pytest.fixture
def lab_with(tmp_path: Path) -> LabWith:
    """Load the lab with changes; return its topology."""

    def load(changes: dict[str, Any]) -> Topology:
        (tmp_path / "environment.yaml").write_text(yaml.safe_dump({**LAB, **changes}), encoding="utf-8")
        return Topology.of(load_environment(tmp_path))

    return load
