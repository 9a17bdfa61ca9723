# SPDX-License-Identifier: Apache-2.0
"""What people say in controls.yaml beside the tests: waivers, and an owner's word."""

import pytest
from made_up_check import SETUP, declare, run

from jinku.evidence.records import Verdict
from jinku.evidence.run import read_result

WAIVED = """
import pytest

@pytest.mark.control("dengbao:8.1.4.1.d")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_two_techniques(host, subject):
    assert False, "one technique is enough"

@pytest.mark.control("dengbao:8.1.4.1.c")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_telnet_is_absent(host):
    assert %s, "telnet answers"
"""


WAIVER = """
waivers:
  - {{item: "dengbao:8.1.4.1.d", object: "application:*", owner: Li, reason: until people have the app, date: {today}, until: {today}}}
"""


@pytest.mark.parametrize(("sound", "code"), [(True, 0), (False, 1)])
def test_a_waived_finding_is_expected_and_stays_a_finding_and_another_fails_the_run(sound, code, tmp_path, monkeypatch):
    declare(WAIVER, tmp_path, monkeypatch)
    done, document = run(tmp_path, WAIVED % sound, "--node", "crm1")
    assert done.returncode == code, done.stdout + done.stderr
    assert "1 xfailed" in done.stdout
    verdicts = {record.item: str(record.verdict) for record in read_result(document).records}
    assert verdicts["dengbao:8.1.4.1.d"] == "nonconform"


def test_a_waiver_excuses_no_test_that_could_not_judge(tmp_path, monkeypatch):
    """What it rests on ended in an error: that is no finding, and so none that anybody has accepted."""
    waived = WAIVER.replace("dengbao:8.1.4.1.d", "dengbao:8.1.4.1.c").replace("application:*", "edge:*")
    for raised, code in (("assert False, 'no monitor'", 0), ("1 / 0", 1)):
        folder = tmp_path / f"exit-{code}"
        folder.mkdir()
        declare(waived, folder, monkeypatch)
        done, _ = run(folder, SETUP % raised)
        assert done.returncode == code, done.stdout + done.stderr


SAID = "items:\n  dengbao:8.1.4.1.d: {{status: manual, verdict: conform, owner: Li, reason: looked at it, date: {today}}}\n"


@pytest.mark.parametrize("options", [("--node", "sec1"), ("--read-only",), ("--read-only", "--node", "sec1")])
def test_an_owners_word_waits_for_the_tests_that_were_left_out(options, tmp_path, monkeypatch):
    declare(SAID, tmp_path, monkeypatch)
    _, document = run(tmp_path, (WAIVED % True).replace("assert False,", "assert True,"), *options)
    (item,) = (one for one in read_result(document).items if one.item == "dengbao:8.1.4.1.d")
    stands = options == ("--read-only",)  # its tests are of settings: all of them ran
    assert (item.verdict == Verdict.CONFORM) is stands
