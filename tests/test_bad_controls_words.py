# SPDX-License-Identifier: Apache-2.0
"""What is said of a bad controls.yaml: in the words of environment.yaml, and all at once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from wrong_values import every_wrong_value_is_told_in_our_words

from jinku.evidence.catalogue import load_catalogue
from jinku.evidence.declared import Declared, DeclaredError, load_declared

SIGNED = {"owner": "zhang-wei", "reason": "long enough", "date": "2026-01-01"}
ITEM = "dengbao:8.1.6.1"

Said = Callable[[str], list[str]]


@pytest.fixture
def said(tmp_path: Path) -> Said:
    """What is said of a controls.yaml, file name removed."""

    def load(text: str) -> list[str]:
        file = tmp_path / "controls.yaml"
        file.write_text(text, encoding="utf-8")
        with pytest.raises(DeclaredError) as caught:
            load_declared(tmp_path, load_catalogue())
        return [line.removeprefix(f"{file}: ") for line in str(caught.value).splitlines()]

    return load


def test_all_faults_are_told_at_once_those_of_ids_included(said: Said) -> None:
    assert said(
        "wavers: []\n"
        "items:\n"
        "  dengbao:9.9: {status: maybe, owner: '', reason: none, date: 20260101}\n"
        "waivers:\n"
        "- {item: 'dengbao:8.1.4.1.z', owner: a, reason: long enough, date: soon, untl: 2026-05-01}\n"
    ) == [
        "items.dengbao:9.9: 'dengbao:9.9' is no item of a catalogue; an id such as dengbao:8.1.4.1.d",
        "items.dengbao:9.9.owner: is ''; text, such as 'zhang-wei'",
        "items.dengbao:9.9.reason: is 'none'; text of at least 8 characters, such as 'the room has no radio of any kind'",
        "items.dengbao:9.9.date: is 20260101, which YAML takes for a number; a date, such as 2026-01-31",
        "items.dengbao:9.9.status: is 'maybe'; 'not_applicable', 'manual' or 'inherited'",
        "waivers.0.date: is 'soon'; a date, such as 2026-01-31",
        "waivers.0.item: 'dengbao:8.1.4.1.z' is no item of a catalogue; an id such as dengbao:8.1.4.1.d",
        "waivers.0.until: is missing; The last day on which it is accepted, such as 2026-07-31",
        "waivers.0.untl: unknown key; did you mean 'until'?",
        "wavers: unknown key; did you mean 'waivers'?",
    ]


@pytest.mark.parametrize("day", ["0", "'0'", "'86400'", "false", "2026-01-01 00:00:00", "10.5"])
def test_what_is_no_date_is_not_taken_for_one(said: Said, day: str) -> None:
    """Pydantic takes a number for seconds since 1970, and so a waiver without a day for one of that year."""
    (line,) = said(f"items: {{'{ITEM}': {{status: not_applicable, owner: a, reason: long enough, date: {day}}}}}")
    assert line.startswith(f"items.{ITEM}.date: is ")
    assert line.endswith("; a date, such as 2026-01-31")


def test_a_list_or_a_mapping_of_the_wrong_shape_is_told_with_a_right_one(said: Said) -> None:
    signed = "owner: zhang-wei, reason: the room has no radio of any kind, date: '2026-01-31'"
    waiver = f"{{{signed}, item: 'dengbao:8.1.4.1.d', until: '2026-01-31'}}"
    assert said("waivers:\n") == [f"waivers: is empty; a list, such as [{waiver}], or leave the key out"]
    statement = f"{{'dengbao:8.1.4.1.d': {{{signed}, status: not_applicable}}}}"
    assert said(f"items: ['{ITEM}']") == [f"items: is ['{ITEM}']; a mapping, such as {statement}"]


def test_a_status_that_needs_a_verdict_or_has_one_too_many_is_told_as_such(said: Said) -> None:
    signed = "owner: a, reason: long enough, date: 2026-01-01"
    assert said(f"items: {{'{ITEM}': {{status: inherited, {signed}}}}}") == [
        f"items.{ITEM}: is inherited and has no verdict; one of 'conform', 'partial' or 'nonconform'"
    ]
    assert said(f"items: {{'{ITEM}': {{status: not_applicable, verdict: conform, {signed}}}}}") == [
        f"items.{ITEM}: is not_applicable and has the verdict conform; no verdict, or another status"
    ]


def test_every_wrong_value_of_every_field_is_told_in_our_words_in_one_line_with_a_remedy() -> None:
    statement = {**SIGNED, "status": "manual", "verdict": "conform"}
    waiver = {**SIGNED, "item": ITEM, "object": "host:*", "until": "2026-02-01"}
    every_wrong_value_is_told_in_our_words(Declared, {"items": {ITEM: statement}, "waivers": [waiver]})
