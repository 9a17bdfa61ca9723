# SPDX-License-Identifier: Apache-2.0
"""What a whole check leaves: the verdicts, the document and the reports. Tests and hosts are made up (made_up_check.py)."""

import json
from pathlib import Path

import pytest
from made_up_check import TESTS, run

from jinku.evidence.report import render
from jinku.evidence.run import CheckError, read_result, write_reports


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    done, document = run(tmp_path_factory.mktemp("check"))
    assert done.returncode == 1, done.stdout + done.stderr
    return read_result(document)


def test_each_object_gets_its_verdict(checked):
    pairs = {
        pair.object: (str(pair.verdict), pair.reason.code)
        for pair in checked.verdicts
        if pair.item == "dengbao:8.1.4.1.c"
    }
    assert pairs == {
        "host:edge1": ("conform", "proven"),
        "host:crm1": ("nonconform", "failed"),
        "host:db1": ("not_tested", "unreachable"),
        "host:sec1": ("conform", "proven"),
        "host:ops1": ("not_tested", "skipped"),
        "host:aud1": ("not_tested", "error"),
        "host:db2": ("conform", "proven"),
        "host:ops2": ("conform", "proven"),
        "host:aud2": ("conform", "proven"),
        "host:room1": ("conform", "proven"),
    }
    assert [pair.reason.text for pair in checked.findings] == ["crm1 answers on 23"]
    assert list(checked.unreachable) == ["db1"]


def test_the_document_is_what_its_schema_says(checked):
    document = json.loads(checked.model_dump_json())
    assert document["schema"] == "jinku/check/1"
    known = {seen["id"] for seen in document["observations"]}
    assert {name for record in document["records"] for name in record["observations"]} <= known
    assert all(record["started"].endswith("Z") for record in document["records"])
    assert "13812345678" not in checked.model_dump_json()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_report_is_self_contained_and_honest(checked, language):
    page = render(checked, language)
    assert "自查" in page
    assert "src=" not in page
    assert "<script" not in page
    assert 'href="http' not in page
    assert "url(" not in page
    assert "&lt;script&gt;" in page
    assert "crm1 answers on 23" in page
    assert next(seen.sha256 for seen in checked.observations) in page
    assert ("没有 telnet 服务" if language == "zh" else "No telnet server listens.") in page
    assert ("存在未测试项时不给出" if language == "zh" else "not stated while anything is not tested") in page
    assert "%</b>" not in page


def test_control_characters_are_shown_escaped(checked):
    """The body of a request with a NUL, in a command, an output and a reason; the page was no valid text with it."""
    bad = "a\0b\x1fc\td\x9be<&"
    one, *others = checked.observations
    record = next(record for record in checked.records if record.verdict == "nonconform")
    with_it = record.model_copy(update={"reason": record.reason.model_copy(update={"text": bad})})
    update = {
        "observations": tuple(seen.model_copy(update={"command": bad, "stdout": bad}) for seen in (one, *others)),
        "records": tuple(with_it if each is record else each for each in checked.records),
    }
    page = render(checked.model_copy(update=update), "en")
    assert page.count(r"a\x00b\x1fc" "\td" r"\x9be&lt;&amp;") >= 3
    assert not [found for found in page if (found < " " and found not in "\n\t") or "\x7f" <= found <= "\x9f"]
    assert "&amp;lt;" not in page, "escaped once"


def test_reports_are_for_their_owner_only(checked, tmp_path):
    for path in write_reports(checked, tmp_path / "out").values():
        assert path.stat().st_mode & 0o077 == 0


def test_a_whole_check_does_not_say_that_only_settings_were_looked_at(checked):
    assert not checked.read_only
    assert "Only settings were looked at" not in render(checked, "en")


def test_the_document_is_for_its_owner_only(tmp_path):
    document = tmp_path / "check.json"
    document.write_text("what somebody else may read")
    document.chmod(0o644)
    run(tmp_path, TESTS, "--node", "edge1")
    assert document.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_result_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(CheckError, match="no document of a check"):
        read_result(Path(tmp_path / "x.json"))
