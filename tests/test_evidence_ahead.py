# SPDX-License-Identifier: Apache-2.0
"""What hosts are asked before the tests, all at once: what a module prefetches, and what was learnt at the check before."""

import pytest
from made_up_check import run

from jinku.evidence.records import Verdict
from jinku.evidence.run import read_result


@pytest.fixture
def kept(tmp_path):
    """Where a check keeps what it has asked, not written yet."""
    file = tmp_path / "lab" / "asked-before.json"
    file.parent.mkdir()
    return file


ASKS_AHEAD = """
import pytest

def prefetch(subject, topology):
    return ["echo done >>%s/deeds"]

@pytest.mark.control("dengbao:8.1.4.1.c")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_looks(host):
    assert host.run("true").rc == 0

@pytest.mark.control("dengbao:8.1.4.1.c")
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_looks_for_the_trace(host):
    assert host.run("true").rc == 0
"""


def test_a_check_of_settings_does_no_deed_whose_trace_another_test_would_look_for(tmp_path):
    run(tmp_path, ASKS_AHEAD % tmp_path, "--read-only")
    assert not (tmp_path / "deeds").exists()
    run(tmp_path, ASKS_AHEAD % tmp_path)
    assert (tmp_path / "deeds").exists()


REMEMBERS = """
import pytest

@pytest.mark.control("dengbao:8.1.4.1.c")
@pytest.mark.objects("host")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_asks(host):
    assert host.run("echo asked").rc == 0

@pytest.mark.control("dengbao:8.1.4.1.c")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_reads(host):
    assert host.run("sleep 0.4; echo read").stdout == "read\\n"

@pytest.mark.control("dengbao:8.1.4.1.c")
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_tries(host):
    host.run("echo tried")
"""


def test_questions_of_settings_are_asked_ahead_next_time_and_deeds_are_not(tmp_path, kept):
    seconds = []
    for _ in range(2):
        done, document = run(tmp_path, REMEMBERS)
        assert "6 failed" not in done.stdout
        result = read_result(document)
        seconds.append((result.ended - result.started).total_seconds())
        assert {record.verdict for record in result.records if record.object != "host:db1"} == {Verdict.CONFORM}
    assert "sleep 0.4" in kept.read_text()
    assert "echo tried" not in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    assert seconds[1] < seconds[0] - 1, "six hosts were asked one after the other again"


def test_a_check_of_settings_asks_only_what_they_ask_and_forgets_no_other_question(tmp_path, kept):
    asked = []
    for options in ((), ("--read-only",)):
        _, document = run(tmp_path, REMEMBERS.replace("echo asked", f"echo asked >>{tmp_path}/asked"), *options)
        asked.append(len((tmp_path / "asked").read_text().splitlines()))
        assert {record.test.rpartition("::")[2] for record in read_result(document).records} >= {"test_reads"}
    assert asked[0] == asked[1] > 0
    assert "echo asked" in kept.read_text()


@pytest.mark.usefixtures("kept")
def test_a_check_of_settings_asks_nothing_ahead_by_the_word_of_other_tests(tmp_path):
    """One that was of settings when it was learnt may try something since."""
    asks = REMEMBERS.replace("sleep 0.4; echo read", f"echo read; echo >>{tmp_path}/read")
    run(tmp_path, asks)
    (tmp_path / "read").unlink()
    run(tmp_path, asks.replace("@pytest.mark.setting", "@pytest.mark.behaviour"), "--read-only")
    assert not (tmp_path / "read").exists()


WAITS = """
import time
import pytest
from jinku.evidence.waiting import trials

@pytest.mark.control("dengbao:8.1.4.1.c")
@pytest.mark.objects("edge")
@pytest.mark.setting
def test_waits(host):
    for trial in trials("a thing", times=5, pause_s=0.3):
        if host.run(f"test -e %s/there && echo {trial}").rc == 0:
            return
        if trial == 2:
            open("%s/there", "w").close()
    raise AssertionError("never came")

@pytest.mark.control("dengbao:8.1.4.1.c")
@pytest.mark.objects("edge")
@pytest.mark.setting
def test_waits_for_nothing(host):
    assert host.run("echo at once").rc == 0
"""


def test_what_a_test_asked_a_second_time_is_not_asked_ahead(tmp_path, kept):
    """All at once at the next session's start, its trials would all be told what was true in that second."""
    for _ in range(2):
        _, document = run(tmp_path, WAITS % (tmp_path, tmp_path))
        assert {record.verdict for record in read_result(document).records} == {Verdict.CONFORM}
        assert "test -e" not in kept.read_text()
        assert "echo at once" in kept.read_text(), "the next test is learnt"
        (tmp_path / "there").unlink()
    (tmp_path / "there").touch()
    run(tmp_path, WAITS % (tmp_path, tmp_path))
    assert kept.read_text().count("test -e") == 1, "one that needs no second trial is asked ahead"


@pytest.mark.parametrize(
    "text", ["", "[]", '{"asked": {"a": [["db1", "true", null]]}}', '{"asked": {"a": {"setting": true}}}', "\0"]
)
def test_a_file_of_questions_that_is_none_is_learnt_anew(text, tmp_path, kept):
    kept.write_text(text)
    run(tmp_path, REMEMBERS)
    assert "sleep 0.4" in kept.read_text()
