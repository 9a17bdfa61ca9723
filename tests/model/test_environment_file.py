# SPDX-License-Identifier: Apache-2.0
"""environment.yaml as a file: what it may be, and in which words its faults are told."""

from pathlib import Path

import pytest
import yaml
from lab_choices import LAB, LabWith, Problems

from jinku.model import InputError, load_environment


def test_an_unknown_key_is_named_with_the_nearest_one(problems: Problems) -> None:
    assert problems({"profil": "small"}) == ["profil: unknown key; did you mean 'profile'?"]
    assert problems({"crm": {"demodata": True}}) == ["crm.demodata: unknown key; did you mean 'demo_data'?"]


def test_all_problems_are_told_at_once(problems: Problems) -> None:
    assert len(problems({"profile": "huge", "level": 4, "name": "Lab!", "domain": "x"})) == 4


def test_a_wrong_type_is_told(problems: Problems) -> None:
    assert problems({"retention": {"log_days": "long"}})[0].startswith("retention.log_days: is 'long'; ")
    assert problems({"sites": ["a"]})[0].startswith("sites: is ['a']; ")


def test_a_time_zone_that_does_not_exist_is_refused(problems: Problems) -> None:
    for zone in ("Beijing", "Asia"):
        assert problems({"timezone": zone}) == [
            f"timezone: is {zone!r}, which is no time zone that this machine knows; one such as Asia/Shanghai"
        ]


def test_a_time_zone_with_a_digit_or_a_hyphen_is_taken(lab_with: LabWith) -> None:
    for zone in ("America/Port-au-Prince", "Etc/GMT-8"):
        assert lab_with({"timezone": zone}).env.timezone == zone


def test_a_list_is_not_called_too_short_for_a_wrong_entry(problems: Problems) -> None:
    wrong = {**LAB["operators"][1], "duty": "auditor"}
    assert problems({"operators": [LAB["operators"][0], wrong, LAB["operators"][2]]}) == [
        "operators.1.duty: is 'auditor'; 'system', 'audit' or 'security'"
    ]
    assert problems({"operators": LAB["operators"][:2]}) == ["operators: has 2; at least 3"]


def test_less_than_180_days_of_logs_is_refused(problems: Problems) -> None:
    assert "180" in problems({"retention": {"log_days": 30}})[0]


def test_a_newer_schema_is_refused_with_the_remedy(problems: Problems) -> None:
    (line,) = problems({"schema_version": 2, "some_new_key": 1})
    assert line.startswith("schema_version: is 2, newer than this Jinku")


def test_an_environment_for_another_jinku_is_refused(problems: Problems) -> None:
    assert problems({"jinku": ">=9"})[0].startswith("jinku: this is Jinku ")
    assert problems({"jinku": "soon"}) == ["jinku: 'soon' is not a version range; such as '>=0.1,<0.2'"]


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "environment.yaml"
    file.write_text(yaml.safe_dump(LAB) + "\nlevel: 2\n", encoding="utf-8")
    with pytest.raises(InputError, match="the key 'level' is written twice"):
        load_environment(file)


def test_a_day_that_does_not_exist_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "environment.yaml"
    file.write_text("schema_version: 1\ncrm:\n  company: 2026-02-30\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"environment\.yaml: line 3, column 12: '2026-02-30' cannot be read .*; a value"
    ):
        load_environment(file)


def test_an_environment_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(InputError, match="one of lab, small, standard"):
        load_environment("labb")
