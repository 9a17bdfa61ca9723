# SPDX-License-Identifier: Apache-2.0
"""Tests of the tests: break the running lab, see the named tests find fault, mend it, see them conform again.

Run by ``pytest compliance_tests -m sabotage``, never by `jinku check`. Each sabotage stands beside the tests that it kills.
"""

import importlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jinku.evidence.channel import Channel, far_end
from jinku.evidence.objects import objects_of
from jinku.evidence.records import CheckResult, Object
from jinku.evidence.run import pytest_environment, read_result
from jinku.evidence.sabotage import Sabotage
from jinku.model import Topology
from jinku.places import Places

TESTS = Path(__file__).resolve().parent.parent


def found():
    """Every sabotage with the module that it stands in."""
    sys.path.insert(0, str(TESTS))
    for path in sorted(TESTS.glob("test_*.py")):
        for sabotage in getattr(importlib.import_module(path.stem), "SABOTAGE", ()):
            yield pytest.param(path, sabotage, id=f"{path.stem.removeprefix('test_')}: {sabotage.name}")


def victim(topology: Topology, sabotage: Sabotage) -> Object:
    """The node with the fewest tiers among the objects of the class, so that little else is disturbed."""
    things = [thing for thing in objects_of(topology) if thing.object_class == sabotage.on]
    if sabotage.victim:
        return next(thing for thing in things if thing.node == sabotage.victim)
    chosen = [thing for thing in things if thing.zone]
    assert chosen, f"this environment has no object of class {sabotage.on}"
    return min(chosen, key=lambda thing: len(thing.tiers))


def judged(path: Path, names: tuple[str, ...], thing: Object, document: Path, places: Places) -> CheckResult:
    """Run the named tests on one object in a session of their own; what they found."""
    document.unlink(missing_ok=True)
    tests = [f"{path}::{name}[{thing.id}]" for name in names]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *tests,
            "-q",
            "--tb=short",
            "-p",
            "no:cacheprovider",
            "--evidence",
            str(document),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=TESTS.parent,
        timeout=180,
        env=pytest_environment(places),
    )
    assert document.exists(), done.stdout[-1500:] + done.stderr[-1500:]
    return read_result(document)


def verdicts(result: CheckResult) -> dict[str, str]:
    """Name of test -> verdict, with the reason for what is not tested."""
    return {
        record.test.rpartition("::")[2]: record.verdict
        if record.verdict != "not_tested"
        else f"not tested: {record.reason.text}"
        for record in result.records
    }


@pytest.mark.sabotage
@pytest.mark.parametrize(("path", "sabotage"), list(found()))
def test_the_tests_notice(path, sabotage, topology, places, pytestconfig, tmp_path):
    """Broken: every named test says nonconform (an error would prove nothing). Mended: every one conforms."""
    thing = victim(topology, sabotage)
    node = sabotage.where or thing.node
    if sabotage.where and sabotage.where != "controller":
        known = [one.node for one in objects_of(topology) if one.object_class == sabotage.where]
        node = known[0] if known else topology.nodes_of(sabotage.where)[0].name
    argv = (
        ["sh", "-c", far_end(sudo=False)]
        if node == "controller"
        else pytestconfig.hook.pytest_jinku_argv(config=pytestconfig, node=node)
    )
    channel = Channel(node, argv)
    document = tmp_path / "check.json"
    try:
        broken = channel.ask(sabotage.breaks, 120)
        assert broken.exit_code == 0, f"the sabotage itself failed: {broken.observation.stderr}"
        time.sleep(sabotage.settle)
        while_broken = verdicts(judged(path, sabotage.kills, thing, document, places))
    finally:
        mended = channel.ask(sabotage.mends, 120)
        channel.close()
    assert mended.exit_code == 0, f"mending failed: {mended.observation.stderr}"
    time.sleep(sabotage.settle)
    assert while_broken == dict.fromkeys(sabotage.kills, "nonconform")
    assert verdicts(judged(path, sabotage.kills, thing, document, places)) == dict.fromkeys(sabotage.kills, "conform")
