# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin that records the evidence: which tests run over which hosts, what each proves, and what it refuses."""

import shutil

import pytest
from made_up_check import SETUP, TESTS, declare, run

from jinku.evidence.records import Verdict
from jinku.evidence.report import render
from jinku.evidence.run import read_result

NOTHING_ASKED = """
import pytest

@pytest.mark.control("dengbao:8.1.4.1.c")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_looks_nowhere(host):
    for each in []:
        assert host.run("true").rc == 0
"""


def test_who_asked_nothing_has_proven_nothing(tmp_path):
    done, document = run(tmp_path, NOTHING_ASKED, "--node", "edge1")
    assert done.returncode == 0
    assert [(str(one.verdict), one.reason.code) for one in read_result(document).records] == [
        ("not_tested", "unobserved")
    ]


@pytest.mark.parametrize(
    ("raised", "verdict"), [("assert False, 'no monitor'", Verdict.NONCONFORM), ("1 / 0", Verdict.NOT_TESTED)]
)
def test_an_assertion_of_what_a_test_rests_on_is_a_finding(tmp_path, raised, verdict):
    _, document = run(tmp_path, SETUP % raised)
    found = read_result(document).records
    assert {record.verdict for record in found} == {verdict}


def test_one_node_only(tmp_path):
    done, document = run(tmp_path, TESTS, "--node", "sec1")
    assert done.returncode == 0
    result = read_result(document)
    assert result.only == ("sec1",)
    assert "sec1" in render(result, "en").partition("kept to")[2][:40]
    assert {record.object for record in result.records} == {"host:sec1"}
    assert {pair.verdict for pair in result.verdicts if pair.item == "dengbao:8.1.4.1.c"} == {
        Verdict.CONFORM,
        Verdict.NOT_TESTED,
    }


def test_a_check_of_settings_tries_nothing_and_proves_nothing(tmp_path):
    done, document = run(tmp_path, TESTS, "--read-only")
    assert "9 passed, 11 deselected, 1 error" in done.stdout  # one host does not answer
    result = read_result(document)
    assert result.read_only
    assert {record.polarity for record in result.records} == {"setting"}
    verdicts = [(pair.verdict, pair.reason.code) for pair in result.verdicts if pair.item == "dengbao:8.1.4.1.c"]
    assert set(verdicts) == {(Verdict.NOT_TESTED, "not_run"), (Verdict.NOT_TESTED, "unreachable")}
    assert not result.count()[Verdict.CONFORM]
    assert "Only settings were looked at" in render(result, "en")
    assert "仅核查配置" in render(result, "zh")


HEAD = "import pytest\n"
BODY = "def test_a(host):\n    pass\n"


@pytest.mark.parametrize(
    ("marks", "says"),
    [
        (
            '@pytest.mark.control("dengbao:8.1.4.99")\n@pytest.mark.objects("host")\n@pytest.mark.setting\n',
            "in no catalogue",
        ),
        (
            '@pytest.mark.control("dengbao:8.1.4.1.c")\n@pytest.mark.objects("host")\n',
            "one of the marks setting and behaviour",
        ),
        ('@pytest.mark.control("dengbao:8.1.4.1.c")\n@pytest.mark.objects("hosts")\n@pytest.mark.setting\n', "objects"),
        ('@pytest.mark.control()\n@pytest.mark.objects("host")\n@pytest.mark.setting\n', "needs ids"),
    ],
)
def test_faulty_marks_stop_the_collection(marks, says, tmp_path):
    done, document = run(tmp_path, HEAD + marks + BODY)
    assert done.returncode not in (0, 1)
    assert says in done.stdout + done.stderr
    assert not document.exists() or not read_result(document).records


def test_a_faulty_environment_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("JINKU_ENV", "nowhere")
    done, document = run(tmp_path)
    assert "nowhere: --env: no environment.yaml there" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not document.exists()


def test_a_check_of_the_second_of_two_environments_of_one_name_is_refused_in_one_line(tmp_path, monkeypatch):
    """Its tests would ask the hosts of the first."""
    declare("schema_version: 1\n", tmp_path, monkeypatch)
    first = tmp_path / "first/environment.yaml"
    first.parent.mkdir()
    shutil.copy(tmp_path / "lab/environment.yaml", first)
    (tmp_path / "lab/origin").write_text(f"{first}\n")  # the state of `lab`, which run() keeps here
    done, document = run(tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    told = f"{tmp_path}/lab/environment.yaml: name: is 'lab', and the state in {tmp_path}/lab is that of {first}; another name"
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not document.exists()
    (tmp_path / "lab/origin").write_text(f"{tmp_path}/lab/environment.yaml\n")
    assert run(tmp_path)[1].exists()
