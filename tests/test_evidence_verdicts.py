# SPDX-License-Identifier: Apache-2.0
"""A verdict is earned: every road to a false conform is closed here."""

from datetime import UTC, date, datetime
from itertools import product

import pytest

from jinku.evidence.catalogue import READERS, CatalogueError, load_catalogue
from jinku.evidence.declared import Declared, DeclaredError, load_declared, of_nobody
from jinku.evidence.objects import objects_of
from jinku.evidence.records import Reason, Record, Verdict
from jinku.evidence.verdicts import conformity_rate, judge
from jinku.model import Topology, load_environment

CATALOGUE = load_catalogue()
HOSTS = tuple(thing for thing in objects_of(Topology.of(load_environment("lab"))) if thing.object_class == "host")[:2]
TODAY = date(2026, 11, 24)
NOW = datetime(2026, 11, 24, tzinfo=UTC)
ITEM = "dengbao:8.1.4.1.c"  # hosts only; its unit has one step, so there is no partial verdict
STEPS = "dengbao:8.1.4.4.a"  # hosts only; its unit has several steps


def record(item, thing, polarity, verdict, code="failed"):
    reason = Reason(code="proven" if verdict == "conform" else code, text="words")
    return Record(
        item=item,
        object=thing.id,
        polarity=polarity,
        verdict=verdict,
        reason=reason,
        test="t",
        title_en="t",
        title_zh="t",
        substrate="container",
        started=NOW,
        ended=NOW,
    )


def everywhere(item, verdict="conform"):
    return [record(item, thing, polarity, verdict) for thing, polarity in product(HOSTS, ("setting", "behaviour"))]


def judged(records, item, tmp_path, text="", left_out=()):
    (tmp_path / "controls.yaml").write_text(text)
    declared = load_declared(tmp_path, CATALOGUE)
    pairs, items = judge(CATALOGUE, 3, HOSTS, records, declared, TODAY, left_out)
    mine = next(one for one in items if one.item == item)
    return mine, {pair.object: pair for pair in pairs if pair.item == item}, items


def test_both_sides_on_every_object_is_conform(tmp_path):
    item, pairs, _ = judged(everywhere(ITEM), ITEM, tmp_path)
    assert item.verdict == "conform"
    assert {pair.verdict for pair in pairs.values()} == {Verdict.CONFORM}


def test_no_record_is_not_tested(tmp_path):
    item, pairs, items = judged([], ITEM, tmp_path)
    assert (item.verdict, item.reason.code) == ("not_tested", "no_test")
    assert list(pairs) == ["host:*"]
    assert len([one for one in items if one.item.startswith("dengbao:")]) == 211
    assert {one.verdict for one in items} == {Verdict.NOT_TESTED}


def test_what_only_a_person_can_judge_is_told_apart_from_what_no_test_looks_at(tmp_path):
    _, _, items = judged([], ITEM, tmp_path)
    codes = {one.item: one.reason.code for one in items}
    assert codes["dengbao:8.1.6.1"] == "undeclared"  # a policy: only a person knows it
    assert codes[ITEM] == "no_test"


@pytest.mark.parametrize("side", ["setting", "behaviour"])
def test_one_side_is_not_enough(side, tmp_path):
    item, pairs, _ = judged([one for one in everywhere(ITEM) if one.polarity == side], ITEM, tmp_path)
    assert item.verdict == "not_tested"
    assert {pair.reason.code for pair in pairs.values()} == {"one_sided"}


def test_what_was_left_out_of_a_run_cannot_have_been_proven_by_the_rest(tmp_path):
    item, pairs, _ = judged(everywhere(ITEM), ITEM, tmp_path, left_out={(ITEM, HOSTS[0].id)})
    assert item.verdict == "not_tested"
    assert {name: pair.reason.code for name, pair in pairs.items()} == {HOSTS[0].id: "not_run", HOSTS[1].id: "proven"}


def test_a_fault_found_stands_whatever_was_left_out(tmp_path):
    found = [record(ITEM, HOSTS[0], "setting", "nonconform")]
    item, pairs, _ = judged(found, ITEM, tmp_path, left_out={(ITEM, thing.id) for thing in HOSTS})
    assert item.verdict == "partial"
    assert [pairs[thing.id].verdict for thing in HOSTS] == ["nonconform", "not_tested"]


def test_an_owners_word_does_not_stand_where_the_tests_that_could_refute_it_were_left_out(tmp_path):
    said = (
        f"items:\n  {ITEM}: {{status: manual, verdict: conform, owner: Li, reason: looked at it, date: 2026-11-01}}\n"
    )
    assert judged([], ITEM, tmp_path, said)[0].verdict == "conform"
    item, _, _ = judged([], ITEM, tmp_path, said, left_out={(ITEM, HOSTS[0].id)})
    assert (item.verdict, item.reason.code, item.declared_by) == ("not_tested", "not_run", None)


def test_an_object_left_out_is_told(tmp_path):
    item, pairs, _ = judged([one for one in everywhere(ITEM) if one.object == HOSTS[0].id], ITEM, tmp_path)
    assert item.verdict == "not_tested"
    assert (pairs[HOSTS[1].id].verdict, pairs[HOSTS[1].id].reason.code) == ("not_tested", "not_run")


@pytest.mark.parametrize("code", ["skipped", "error", "unreachable"])
def test_a_test_that_could_not_judge_spoils_conform(code, tmp_path):
    records = [*everywhere(ITEM), record(ITEM, HOSTS[0], "setting", "not_tested", code)]
    item, pairs, _ = judged(records, ITEM, tmp_path)
    assert (item.verdict, item.reason.code) == ("not_tested", code)
    assert pairs[HOSTS[1].id].verdict == "conform"


def test_a_finding_stands_beside_tests_that_could_not_judge(tmp_path):
    records = [
        record(ITEM, HOSTS[0], "setting", "not_tested", "error"),
        record(ITEM, HOSTS[0], "behaviour", "nonconform"),
    ]
    _, pairs, _ = judged(records, ITEM, tmp_path)
    assert pairs[HOSTS[0].id].verdict == "nonconform"


@pytest.mark.parametrize(("item", "verdict"), [(ITEM, "nonconform"), (STEPS, "partial")])
def test_mixed_is_partial_only_where_the_unit_has_several_steps(item, verdict, tmp_path):
    records = [*everywhere(item)[:-1], record(item, HOSTS[1], "behaviour", "nonconform")]
    found, pairs, _ = judged(records, item, tmp_path)
    assert pairs[HOSTS[1].id].verdict == verdict
    assert found.verdict == "partial"  # over all objects: some conform, one does not


def test_everything_failed_is_nonconform(tmp_path):
    assert judged(everywhere(STEPS, "nonconform"), STEPS, tmp_path)[0].verdict == "nonconform"


def test_an_item_of_hosts_and_application_needs_both(tmp_path):
    item, pairs, _ = judged(everywhere("dengbao:8.1.4.1.d"), "dengbao:8.1.4.1.d", tmp_path)
    assert pairs["application:*"].verdict == "not_tested"
    assert item.verdict == "not_tested"


WAIVER = "waivers: [{item: 'dengbao:8.1.4.1.c', object: 'host:*', owner: Li, reason: until the new key store, date: 2026-11-01, until: %s}]"


@pytest.mark.parametrize(("until", "waived"), [("2026-11-24", True), ("2026-11-23", False)])
def test_a_waiver_explains_and_never_changes(until, waived, tmp_path):
    item, pairs, _ = judged(everywhere(ITEM, "nonconform"), ITEM, tmp_path, WAIVER % until)
    assert item.verdict == "nonconform"
    assert all(pair.verdict == "nonconform" for pair in pairs.values())
    assert all((pair.waiver is not None) is waived for pair in pairs.values())


def test_a_person_may_judge_what_no_test_can(tmp_path):
    text = "items: {'dengbao:8.1.6.1': {status: manual, verdict: conform, owner: Li, reason: 'policy v3, SEC-001', date: 2026-09-02}}"
    item, _, _ = judged([], "dengbao:8.1.6.1", tmp_path, text)
    assert (item.verdict, item.reason.code, item.declared_by.owner) == ("conform", "declared", "Li")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "items: {'dengbao:9.9': {status: not_applicable, owner: a, reason: long enough, date: 2026-01-01}}",
            "items.dengbao:9.9: 'dengbao:9.9' is no item of a catalogue; an id such as",
        ),
        (
            "items: {'dengbao:8.1.6.1': {status: manual, owner: a, reason: long enough, date: 2026-01-01}}",
            "is manual and has no verdict; one of",
        ),
        ("items: {'dengbao:8.1.6.1': {status: not_applicable, reason: long enough, date: 2026-01-01}}", "owner"),
        ("waivers: [{item: 'dengbao:8.1.6.1', owner: a, reason: long enough, date: 2026-01-01}]", "until"),
        ("wavers: []", "wavers"),
        (
            "waivers: [{item: 'dengbao:8.1.6.1', owner: a, reason: long enough, date: 2026-01-01, until: 2027-01-03}]",
            r"controls.yaml: waivers.0.until: .*367 days after its date; at most 366",
        ),
        (
            "waivers: [{item: 'dengbao:8.1.6.1', owner: a, reason: long enough, date: 2126-01-01, until: 2126-01-03}]",
            r"controls.yaml: waivers.0.date: .*has not come yet",
        ),
        (
            "waivers: [{item: 'dengbao:8.1.6.1', owner: a, reason: long enough, date: 2026-02-01, until: 2026-01-01}]",
            r"controls.yaml: waivers.0.until: .*is before its date, 2026-02-01",
        ),
        (
            "waivers:\n- until: 2026-06-31\n",
            r"controls.yaml: line 2, column 10: '2026-06-31' cannot be read \(day is out of range for month\); a value that exists",
        ),
        ("items: {}\nitems: {}\n", r"controls.yaml: line 2, column 1: the key 'items' is written twice; "),
        ("items:\n\tx: 1\n", r"controls.yaml: line 2, column 1: found character '\\t' .*; valid YAML"),
        ("- items\n", r"controls.yaml: \(file\): is not a mapping; keys such as 'items:'"),
        ("[a]: b\n", r"controls.yaml: line 1, column 1: cannot be read "),
    ],
)
def test_a_faulty_controls_yaml_is_refused(text, says, tmp_path):
    with pytest.raises(DeclaredError, match=says):
        judged([], ITEM, tmp_path, text)


def test_a_controls_yaml_in_another_encoding_is_refused(tmp_path):
    """An editor of a Chinese Windows writes GBK."""
    (tmp_path / "controls.yaml").write_bytes("# 金库\n".encode("gbk"))
    with pytest.raises(DeclaredError, match=r"controls.yaml: \(file\): is not UTF-8 text; save it as UTF-8"):
        load_declared(tmp_path, CATALOGUE)


def test_nothing_but_comments_declares_nothing_and_an_anchor_may_be_merged(tmp_path):
    (tmp_path / "controls.yaml").write_text("# nothing yet\n---\n")
    assert load_declared(tmp_path, CATALOGUE) == Declared()
    (tmp_path / "controls.yaml").write_text(
        "items:\n  'dengbao:8.1.6.1': &all {status: manual, verdict: conform, owner: Li, reason: policy v3, date: 2026-09-02}\n"
        "  'dengbao:8.1.3.1.d': {<<: *all, verdict: partial}\n"
    )
    assert load_declared(tmp_path, CATALOGUE).items["dengbao:8.1.3.1.d"].verdict == "partial"


def test_who_is_no_operator_and_what_is_no_object_is_told(tmp_path):
    """Told and not refused: who removes a person must not be kept from it by what that person once signed."""
    ones = ["owner: Li Na, object: 'host:*'", "owner: li-nan, object: '*'", "owner: zhang-wei, object: 'host:db9'"]
    sign = "item: 'dengbao:8.1.6.1', reason: long enough, date: 2026-01-01, until: 2026-02-01"
    (tmp_path / "controls.yaml").write_text("waivers:\n" + "".join(f"- {{{sign}, {one}}}\n" for one in ones))
    told = of_nobody(load_declared(tmp_path, CATALOGUE), Topology.of(load_environment("lab")))
    assert [line.partition(";")[0] for line in told] == [
        "waivers.1.owner: 'li-nan' is no operator",
        "waivers.2.object: 'host:db9' is no object of this environment",
    ]


def test_no_rate_while_anything_is_not_tested(tmp_path):
    _, _, items = judged(everywhere(ITEM), ITEM, tmp_path)
    assert conformity_rate(items) is None
    done = [
        one.model_copy(update={"verdict": Verdict.CONFORM if number else Verdict.PARTIAL})
        for number, one in enumerate(items[:4])
    ]
    assert conformity_rate(done) == 0.75


def test_the_catalogues_are_whole():
    assert sum(control.framework == "dengbao" for control in CATALOGUE.values()) == 211
    assert sum(control.framework == "iso27001" for control in CATALOGUE.values()) == 93
    assert sum(control.framework == "pipl" for control in CATALOGUE.values()) == 40
    assert len(list(CATALOGUE.of("dengbao", 2))) == 133  # 135 less the two that only level 2 has
    lost = {other for control in CATALOGUE.values() for other in control.maps_to if other not in CATALOGUE}
    assert lost == set()


def test_a_faulty_catalogue_names_file_and_field(tmp_path):
    for framework, (key, _) in READERS.items():
        (tmp_path / f"{framework}.yaml").write_text(f"{key}: []\n")
    (tmp_path / "dengbao.yaml").write_text("items: [{id: 8.1.9.9}]\n")
    with pytest.raises(CatalogueError, match=r"dengbao.yaml: items.8.1.9.9"):
        load_catalogue(tmp_path)


@pytest.mark.parametrize("status", ["status: not_applicable", "status: manual, verdict: conform"])
def test_nobody_can_declare_a_finding_away(status, tmp_path):
    text = f"items: {{'{ITEM}': {{{status}, owner: Li, reason: we do not care for it, date: 2026-09-02}}}}"
    item, pairs, _ = judged(everywhere(ITEM, "nonconform"), ITEM, tmp_path, text)
    assert item.verdict == "nonconform"
    assert {pair.verdict for pair in pairs.values()} == {Verdict.NONCONFORM}
