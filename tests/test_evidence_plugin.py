# SPDX-License-Identifier: Apache-2.0
"""The plugin, the document and the report, on tests and hosts made up here; every channel ends on this machine."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jinku.evidence import run as check
from jinku.evidence.records import Verdict
from jinku.evidence.report import render
from jinku.evidence.run import CheckError, read_result, write_reports
from jinku.places import CHECKOUT, Places

CONFTEST = """
import pytest
from jinku.evidence.channel import far_end
pytest_plugins = ["jinku.evidence.plugin"]
@pytest.hookimpl(tryfirst=True)
def pytest_jinku_argv(node):
    if node == "db1":
        return ["sh", "-c", "echo 'No route to host' >&2; exit 255"]
    return ["sh", "-c", far_end(sudo=False)]
"""
TESTS = '''
import pytest

@pytest.mark.control("dengbao:8.1.4.1.c", "iso27001:A.8.5")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_telnet_is_absent(host):
    """No telnet server listens.

    zh: 没有 telnet 服务。
    """
    assert host.run("echo 13812345678 '<script>alert(1)</script>'").rc == 0

@pytest.mark.control("dengbao:8.1.4.1.c")
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_telnet_is_refused(host, subject):
    assert subject.node != "crm1", "crm1 answers on 23"
    if subject.node == "ops1":
        pytest.skip("declined")
    if subject.node == "aud1":
        raise ValueError("broke")
    host.run("true")

@pytest.mark.sabotage
def test_breaks_things():
    raise SystemExit(3)
'''


def run(folder, tests=TESTS, *options):
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_made_up.py").write_text(tests)
    document = folder / "check.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            str(folder),
            "-q",
            "-p",
            "no:cacheprovider",
            f"--rootdir={folder}",
            "--evidence",
            str(document),
            *options,
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env={**os.environ, "JINKU_STATE_DIR": str(folder)},  # never this machine's own state
    )
    return done, document


def declare(text, folder, monkeypatch):
    """Have the next run be about the lab with this controls.yaml, signed today."""
    place = folder / "lab"
    place.mkdir()
    shutil.copy(CHECKOUT / "inventories/lab/environment.yaml", place)
    (place / "controls.yaml").write_text(text.format(today=f"{datetime.now(UTC):%Y-%m-%d}"))
    monkeypatch.setenv("JINKU_ENV", str(place))


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


def test_the_document_is_for_its_owner_only(tmp_path):
    document = tmp_path / "check.json"
    document.write_text("what somebody else may read")
    document.chmod(0o644)
    run(tmp_path, NOTHING_ASKED, "--node", "edge1")
    assert document.stat().st_mode & 0o777 == 0o600


def test_a_check_of_some_nodes_never_stands_for_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path))
    places = Places("lab")
    whole, some = check.new_document(places, whole=True), check.new_document(places, whole=False)
    assert whole != some
    for path in (places.reports, whole.parent):
        assert path.stat().st_mode & 0o777 == 0o700
    some.write_text("{}")
    assert check.latest_result(places) is None
    whole.write_text("{}")
    assert check.latest_result(places) == whole


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


SAID = "items:\n  dengbao:8.1.4.1.d: {{status: manual, verdict: conform, owner: Li, reason: looked at it, date: {today}}}\n"


@pytest.mark.parametrize("options", [("--node", "sec1"), ("--read-only",), ("--read-only", "--node", "sec1")])
def test_an_owners_word_waits_for_the_tests_that_were_left_out(options, tmp_path, monkeypatch):
    declare(SAID, tmp_path, monkeypatch)
    _, document = run(tmp_path, (WAIVED % True).replace("assert False,", "assert True,"), *options)
    (item,) = (one for one in read_result(document).items if one.item == "dengbao:8.1.4.1.d")
    stands = options == ("--read-only",)  # its tests are of settings: all of them ran
    assert (item.verdict == Verdict.CONFORM) is stands


def test_a_whole_check_does_not_say_that_only_settings_were_looked_at(checked):
    assert not checked.read_only
    assert "Only settings were looked at" not in render(checked, "en")


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


def test_a_file_that_is_no_result_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(CheckError, match="no document of a check"):
        read_result(Path(tmp_path / "x.json"))


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


def test_questions_of_settings_are_asked_ahead_next_time_and_deeds_are_not(tmp_path):
    kept = tmp_path / "lab" / "asked-before.json"
    kept.parent.mkdir()
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


def test_a_check_of_settings_asks_only_what_they_ask_and_forgets_no_other_question(tmp_path):
    kept = tmp_path / "lab" / "asked-before.json"
    kept.parent.mkdir()
    asked = []
    for options in ((), ("--read-only",)):
        _, document = run(tmp_path, REMEMBERS.replace("echo asked", f"echo asked >>{tmp_path}/asked"), *options)
        asked.append(len((tmp_path / "asked").read_text().splitlines()))
        assert {record.test.rpartition("::")[2] for record in read_result(document).records} >= {"test_reads"}
    assert asked[0] == asked[1] > 0
    assert "echo asked" in kept.read_text()


def test_a_check_of_settings_asks_nothing_ahead_by_the_word_of_other_tests(tmp_path):
    """One that was of settings when it was learnt may try something since."""
    kept = tmp_path / "lab" / "asked-before.json"
    kept.parent.mkdir()
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


def test_what_a_test_asked_a_second_time_is_not_asked_ahead(tmp_path):
    """All at once at the next session's start, its trials would all be told what was true in that second."""
    kept = tmp_path / "lab" / "asked-before.json"
    kept.parent.mkdir()
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
    ("raised", "verdict"), [("assert False, 'no monitor'", Verdict.NONCONFORM), ("1 / 0", Verdict.NOT_TESTED)]
)
def test_an_assertion_of_what_a_test_rests_on_is_a_finding(tmp_path, raised, verdict):
    _, document = run(tmp_path, SETUP % raised)
    found = read_result(document).records
    assert {record.verdict for record in found} == {verdict}


SETUP = """
import pytest

@pytest.fixture
def monitor(host):
    host.run("true")
    %s

@pytest.mark.control("dengbao:8.1.4.1.c")
@pytest.mark.objects("edge")
@pytest.mark.setting
def test_rests(monitor):
    pass
"""


@pytest.mark.parametrize(
    "text", ["", "[]", '{"asked": {"a": [["db1", "true", null]]}}', '{"asked": {"a": {"setting": true}}}', "\0"]
)
def test_a_file_of_questions_that_is_none_is_learnt_anew(text, tmp_path):
    kept = tmp_path / "lab" / "asked-before.json"
    kept.parent.mkdir()
    kept.write_text(text)
    run(tmp_path, REMEMBERS)
    assert "sleep 0.4" in kept.read_text()


def test_a_check_collects_with_the_packages_of_run_time_only(tmp_path):
    """Playwright is for the browser's tests, which a check does not run."""
    words = [*check.pytest_arguments(tmp_path / "check.json"), "--collect-only"]
    blocked = "import sys; sys.modules['playwright'] = None; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", blocked, *words],
        cwd=CHECKOUT,
        env={**os.environ, "JINKU_ENV": "lab", "JINKU_STATE_DIR": str(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "test_access.py::" in done.stdout
    assert "error" not in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("tests", ["import no_such_module\n", "def test_that_is_no_control():\n    assert False\n"])
def test_a_check_without_records_is_no_result(tests, tmp_path, monkeypatch):
    """Tests that do not collect and tests that record nothing must not read as `no finding`."""
    monkeypatch.setattr(check, "TESTS", tmp_path)
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_made_up.py").write_text(tests)
    with pytest.raises(CheckError, match="did not run"):
        check.run_check(Places("lab"), CHECKOUT / "inventories/lab")


def test_a_check_hears_how_far_it_is_and_no_setting_of_the_shell_leaves_a_test_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k no_test_has_this_name")
    monkeypatch.setattr(check, "TESTS", tmp_path)
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_made_up.py").write_text(TESTS)
    heard = []
    check.run_check(Places("lab"), CHECKOUT / "inventories/lab", tmp_path / "check.json", so_far=heard.append)
    assert heard[-1] == 100


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
