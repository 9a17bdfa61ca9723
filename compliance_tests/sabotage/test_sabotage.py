# SPDX-License-Identifier: Apache-2.0
"""Tests of the tests: break the running lab, see the named tests find fault, mend it; at the end all of them conform again.

Run by ``pytest compliance_tests -m sabotage``, never by `jinku check`. Each sabotage stands beside the tests that it kills.
"""

import importlib
import sys
import time
from pathlib import Path

import pytest
from sessions import session

from jinku.evidence.channel import Channel, far_end
from jinku.evidence.objects import objects_of
from jinku.evidence.records import CheckResult, Object
from jinku.evidence.run import pytest_environment, read_result
from jinku.evidence.sabotage import Sabotage
from jinku.model import Topology
from jinku.places import Places

TESTS = Path(__file__).resolve().parent.parent
#: How long what was restarted may take to be whole again before a test that it killed counts as not mended.
MENDED_SECONDS = 90.0


def found():
    """Every sabotage with the module that it stands in."""
    sys.path.insert(0, str(TESTS))
    for path in sorted(TESTS.glob("test_*.py")):
        for sabotage in getattr(importlib.import_module(path.stem), "SABOTAGE", ()):
            marks = [pytest.mark.nightly] if sabotage.nightly else []
            yield pytest.param(path, sabotage, id=f"{path.stem.removeprefix('test_')}: {sabotage.name}", marks=marks)


def victim(topology: Topology, sabotage: Sabotage) -> Object:
    """The node with the fewest tiers among the objects of the class, so that little else is disturbed."""
    things = [thing for thing in objects_of(topology) if thing.object_class == sabotage.on]
    if sabotage.victim:
        return next(thing for thing in things if thing.node == sabotage.victim)
    chosen = [thing for thing in things if thing.zone]
    assert chosen, f"this environment has no object of class {sabotage.on}"
    return min(chosen, key=lambda thing: len(thing.tiers))


def judged(tests: list[str], document: Path, places: Places) -> CheckResult:
    """Run the named tests (``path::name[object]``) in a session of their own; what they found."""
    document.unlink(missing_ok=True)
    arguments = [*tests, "-q", "--tb=short", "-p", "no:cacheprovider", "--evidence", str(document)]
    output = document.with_suffix(".txt")
    said = session(arguments, folder=TESTS.parent, variables=pytest_environment(places), output=output, seconds=600)
    assert document.exists(), said[-3000:]
    return read_result(document)


def named(path: Path, sabotage: Sabotage, thing: Object) -> list[str]:
    """The tests that a sabotage must kill, as pytest names them."""
    return [f"{path}::{name}[{thing.id}]" for name in sabotage.kills]


def verdicts(result: CheckResult) -> dict[str, str]:
    """Name and object of a test -> verdict, with the reason for what is not tested."""
    return {
        f"{record.test.rpartition('::')[2]}[{record.object}]": record.verdict
        if record.verdict != "not_tested"
        else f"not tested: {record.reason.text}"
        for record in result.records
    }


@pytest.mark.sabotage
@pytest.mark.parametrize(("path", "sabotage"), list(found()))
def test_the_tests_notice(path, sabotage, topology, places, pytestconfig, tmp_path):
    """Broken: every named test says nonconform (an error would prove nothing). Then it is mended."""
    thing = victim(topology, sabotage)
    node = sabotage.where or thing.node
    if sabotage.where and sabotage.where != "controller":
        known = [one.node for one in objects_of(topology) if one.object_class == sabotage.where]
        known += [one.name for one in topology.nodes_of(sabotage.where)]
        node = known[0]
    argv = (
        ["sh", "-c", far_end(sudo=False)]
        if node == "controller"
        else pytestconfig.hook.pytest_jinku_argv(config=pytestconfig, node=node)
    )
    channel = Channel(node, argv)
    try:
        broken = channel.ask(sabotage.breaks, 120)
        assert broken.exit_code == 0, f"the sabotage itself failed: {broken.observation.stderr}"
        time.sleep(sabotage.settle)
        while_broken = verdicts(judged(named(path, sabotage, thing), tmp_path / "check.json", places))
    finally:
        mended = channel.ask(sabotage.mends, 120)
        channel.close()
    assert mended.exit_code == 0, f"mending failed: {mended.observation.stderr}"
    time.sleep(sabotage.settle)
    assert while_broken == {f"{name}[{thing.id}]": "nonconform" for name in sabotage.kills}


@pytest.mark.sabotage
def test_all_is_mended(request, topology, places, tmp_path):
    """Every test that was killed conforms again: what it noticed was the sabotage, and nothing of it is left.

    One session for all of them, last: a test that could not conform, or a sabotage that was not mended, shows here as well.
    """
    broke = [item.callspec.params for item in request.session.items if item.originalname == "test_the_tests_notice"]
    assert broke, "no sabotage was chosen"
    tests = dict.fromkeys(
        test for each in broke for test in named(each["path"], each["sabotage"], victim(topology, each["sabotage"]))
    )
    deadline = time.monotonic() + MENDED_SECONDS
    while tests:
        said = verdicts(judged(list(tests), tmp_path / "check.json", places))
        tests = dict.fromkeys(test for test in tests if said.get(test.rpartition("::")[2]) != "conform")
        if time.monotonic() > deadline:
            break
    assert not tests, {test: said.get(test.rpartition("::")[2]) for test in tests}
