# SPDX-License-Identifier: Apache-2.0
"""Programs that roles ship to hosts, for tests of their pure parts here."""

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType


def loaded(path: Path) -> ModuleType:
    """A program as a module, though its file has no suffix. Each call loads it anew, with the environment of now."""
    loader = SourceFileLoader(path.name.replace("-", "_"), str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module
