# SPDX-License-Identifier: Apache-2.0
"""The lab's environment.yaml, as the tests of the model change it."""

from collections.abc import Callable
from typing import Any

import yaml

from jinku.model import Topology
from jinku.places import CHECKOUT

LAB: dict[str, Any] = yaml.safe_load((CHECKOUT / "inventories/lab/environment.yaml").read_text(encoding="utf-8"))

#: What the fixtures of conftest.py do with changes of it.
Problems = Callable[[dict[str, Any]], list[str]]
LabWith = Callable[[dict[str, Any]], Topology]
