# SPDX-License-Identifier: Apache-2.0
"""A control test that could not judge is tried once more; what it then says counts, and no finding is tried away."""

import pytest
from made_up_check import run

from jinku.evidence.records import Verdict
from jinku.evidence.run import read_result

#: One test, which does something else on each host; it counts its tries in a file of the host's name.
TESTS = """
import pytest

@pytest.mark.control("dengbao:8.1.4.1.c")
@pytest.mark.objects("host")
@pytest.mark.{side}
def test_counts_its_tries(host, subject):
    name = "{folder}/tries." + subject.node
    tries = int(host.run("echo x >>%s && wc -l <%s", name, name).stdout)
    match subject.node:
        case "edge1":
            if tries == 1: raise RuntimeError("busy")
        case "crm1":
            assert tries > 1, "telnet answers"
        case "sec1":
            pytest.skip("declined")
        case "ops1":
            raise RuntimeError("broken for good")
        case "aud1":
            if tries == 1: raise RuntimeError("busy")
            assert False, "telnet answers"
        case "db2":
            host.run("test -e %s.slow || { touch %s.slow; exec sleep 9; }", name, name, timeout=1)
"""


@pytest.fixture(scope="module", params=["setting", "behaviour"])
def tried(request, tmp_path_factory):
    """Records by host and the number of tries by host, of tests of one side."""
    folder = tmp_path_factory.mktemp("again")
    _, document = run(folder, TESTS.replace("{side}", request.param).replace("{folder}", str(folder)))
    records = read_result(document).records
    assert len(records) == len({record.object for record in records}), "a test that was tried twice has two records"
    tries = {file.suffix[1:]: file.read_text().count("x") for file in folder.glob("tries.*") if file.suffix != ".slow"}
    return {record.object.partition(":")[2]: record for record in records}, tries


def test_who_could_not_judge_is_asked_once_more_and_the_record_says_so(tried):
    record = tried[0]["edge1"]
    assert record.verdict is Verdict.CONFORM
    assert record.reason.text == "the test passed (at the second try; the first could not judge: RuntimeError: busy)"
    assert len(record.observations) == 1, "what the first try saw proves nothing"


def test_a_command_that_did_not_end_in_time_is_asked_once_more(tried):
    record = tried[0]["db2"]
    assert record.verdict is Verdict.CONFORM
    assert "the first could not judge: CommandTimeout" in record.reason.text


@pytest.mark.parametrize(
    ("node", "verdict", "tries"),
    [
        pytest.param("crm1", Verdict.NONCONFORM, 1, id="a finding"),
        pytest.param("sec1", Verdict.NOT_TESTED, 1, id="a test that declines"),
        pytest.param("ops1", Verdict.NOT_TESTED, 2, id="an error that stays"),
        pytest.param("aud1", Verdict.NONCONFORM, 2, id="a finding at the second try"),
        pytest.param("ops2", Verdict.CONFORM, 1, id="a test that passes"),
    ],
)
def test_no_second_try_turns_a_finding_or_an_error_that_stays_into_a_pass(tried, node, verdict, tries):
    records, counted = tried
    assert (records[node].verdict, counted[node]) == (verdict, tries)
