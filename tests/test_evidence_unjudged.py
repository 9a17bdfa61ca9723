# SPDX-License-Identifier: Apache-2.0
"""What was tested and could not be judged is named: in the report by the class that has no test, and on the terminal."""

from datetime import UTC, date, datetime
from itertools import product

import pytest

from jinku.cli.examination import unjudged
from jinku.evidence.catalogue import load_catalogue
from jinku.evidence.declared import load_declared
from jinku.evidence.objects import objects_of
from jinku.evidence.records import CheckResult, Reason, Record, Subject
from jinku.evidence.report import render
from jinku.evidence.verdicts import judge
from jinku.model import Topology, load_environment

CATALOGUE = load_catalogue()
NOW = datetime(2026, 11, 24, tzinfo=UTC)
THINGS = tuple(
    thing for thing in objects_of(Topology.of(load_environment("lab"))) if thing.object_class in ("host", "application")
)
HOSTS = tuple(thing for thing in THINGS if thing.object_class == "host")
APPLICATION = next(thing for thing in THINGS if thing.object_class == "application")
BOTH = "dengbao:8.1.4.1.d"  # of hosts and of the application


def record(item, thing, polarity="setting", code="proven", text="words"):
    return Record(
        item=item,
        object=thing.id,
        polarity=polarity,
        verdict="conform" if code == "proven" else "not_tested",
        reason=Reason(code=code, text=text),
        test="t",
        title_en="t",
        title_zh="t",
        substrate="container",
        started=NOW,
        ended=NOW,
    )


def result_of(records, folder, unreachable=None):
    pairs, items = judge(CATALOGUE, 3, THINGS, records, load_declared(folder, CATALOGUE), date(2026, 11, 24))
    subject = Subject(name="e", level=3, profile="lab", backend="docker", timezone="Asia/Shanghai")
    return CheckResult(
        environment=subject,
        jinku_version="0",
        commit="0" * 40,
        started=NOW,
        ended=NOW,
        unreachable=unreachable or {},
        objects=THINGS,
        observations=(),
        records=tuple(records),
        verdicts=pairs,
        items=items,
    )


PROVEN_ON_HOSTS = [record(BOTH, thing, polarity) for thing, polarity in product(HOSTS, ("setting", "behaviour"))]


@pytest.mark.parametrize(
    ("language", "says"), [("en", "nothing tested on objects of the class application"), ("zh", "应用类对象尚无测试")]
)
def test_the_report_names_the_class_that_has_no_test_of_an_item_that_has_some(tmp_path, language, says):
    elsewhere = record("dengbao:8.1.4.1.a", APPLICATION)  # so that the application has its column
    page = render(result_of([*PROVEN_ON_HOSTS, elsewhere], tmp_path), language)
    article = page.partition(f'id="{BOTH}"')[2].partition("</article>")[0]
    assert article.count(says) == 2  # of the item, and of the object
    row = page.partition(f'<a href="#{BOTH}"><span')[2].partition("</tr>")[0]
    assert row.count("<td") == row.count('class="conform"') + row.count('class="not_tested"'), "no cell is blank"
    assert row.count(">?</td>") == 1


def test_the_terminal_names_what_could_not_be_judged_once(tmp_path):
    broken = [
        record(name, thing, code="error", text="TimeoutError")
        for name, thing in product(("dengbao:8.1.4.4.a", "iso27001:A.8.9"), HOSTS[:2])
    ]
    result = result_of([*PROVEN_ON_HOSTS, *broken], tmp_path)
    assert unjudged(result) == [f"not_tested: dengbao:8.1.4.4.a on {HOSTS[0].id}, {HOSTS[1].id}: TimeoutError"]
    assert result.incomplete() == (BOTH,), (
        "what lacks a test has a line of its own, and what only a person can judge none"
    )


def test_an_unreachable_host_is_not_told_again_for_each_item(tmp_path):
    gone = record("dengbao:8.1.4.4.a", HOSTS[0], code="unreachable", text="no route")
    assert not any("no route" in line for line in unjudged(result_of([gone], tmp_path, {HOSTS[0].node: "no route"})))
    assert any("no route" in line for line in unjudged(result_of([gone], tmp_path)))


def test_the_terminal_is_not_flooded(tmp_path):
    of_hosts = [name for name, control in CATALOGUE.items() if "host" in control.classes and 3 in control.levels]
    lines = unjudged(result_of([record(name, HOSTS[0], code="error", text=name) for name in of_hosts], tmp_path))
    assert len(lines) == 11
    assert lines[-1].startswith("... and ")
