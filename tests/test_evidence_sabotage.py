# SPDX-License-Identifier: Apache-2.0
"""Every control test has a sabotage after which it must fail, and is proven from both sides; checked without hosts."""

import importlib
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from jinku.evidence.catalogue import UNASKED, load_catalogue
from jinku.evidence.plugin import MARKERS
from jinku.places import CHECKOUT

TESTS = CHECKOUT / "compliance_tests"

# Tests without a sabotage, and why none is needed or possible. Each line is a debt.
WITHOUT = {
    "test_people_prove_themselves_twice": "it fails today, so that it can fail is seen",
    "test_users_of_the_crm_prove_themselves_twice": "it fails today, so that it can fail is seen",
    "test_nothing_is_answered_without_a_session": "no setting of the CRM opens it; it would take another program",
}


@pytest.fixture(scope="module")
def modules(pytestconfig):
    """The modules of the compliance tests; their marks are declared by a plugin that this session does without."""
    for marker in MARKERS:
        pytestconfig.addinivalue_line("markers", marker)
    sys.path.insert(0, str(TESTS))
    found = {path: importlib.import_module(path.stem) for path in sorted(TESTS.glob("test_*.py"))}
    # One of our own tests with the name of a control test would stand in its place, in a run of all tests only.
    assert not [path.name for path, module in found.items() if Path(module.__file__) != path]
    return list(found.values())


def marks(function):
    return {mark.name: mark for mark in getattr(function, "pytestmark", [])}


def control_tests(module):
    return {
        name: marks(one) for name, one in vars(module).items() if name.startswith("test_") and "control" in marks(one)
    }


def test_every_control_test_has_a_sabotage(modules):
    survivors = []
    for module in modules:
        killed = {name for sabotage in getattr(module, "SABOTAGE", ()) for name in sabotage.kills}
        assert killed <= set(vars(module)), f"{module.__name__}: a sabotage names a test that is not there"
        survivors += sorted(set(control_tests(module)) - killed - set(WITHOUT))
    assert survivors == []


def test_fifty_dengbao_items_have_both_sides_on_every_class_that_they_are_demanded_of(modules):
    sides = defaultdict(set)
    for module in modules:
        for mark in control_tests(module).values():
            for item in mark["control"].args:
                for name in mark["objects"].args:
                    sides[item, name].add("setting" if "setting" in mark else "behaviour")
    catalogue, whole = load_catalogue(), set()
    for item in {item for item, _ in sides if item.startswith("dengbao:")}:
        classes = {name for other, name in sides if other == item} | set(catalogue[item].classes) - set(UNASKED)
        if all(sides[item, name] == {"setting", "behaviour"} for name in classes):
            whole.add(item)
    assert len(whole) >= 50, sorted(whole)
    assert {name for item, name in sides if item in whole} >= {
        "host",
        "network",
        "database",
        "vault",
        "application",
        "edge",
    }


def test_every_control_test_speaks_both_languages(modules):
    silent = [
        f"{module.__name__}::{name}"
        for module in modules
        for name in control_tests(module)
        if "\n    zh: " not in (getattr(module, name).__doc__ or "")
    ]
    assert not silent


def test_every_id_is_in_a_catalogue(modules):
    catalogue = load_catalogue()
    unknown = {
        item for module in modules for mark in control_tests(module).values() for item in mark["control"].args
    } - set(catalogue)
    assert not unknown
