# SPDX-License-Identifier: Apache-2.0
"""The recording channel against this machine: the same far end, without SSH."""

import hashlib
import importlib.util
import time

import pytest

from jinku.evidence.channel import Channel, CommandTimeout, Unreachable, far_end, host_over
from jinku.evidence.fleet import CONTROLLER, Fleet, Notebook
from jinku.places import CHECKOUT


@pytest.fixture
def notebook():
    return Notebook()


@pytest.fixture
def fleet(notebook):
    fleet = Fleet(lambda _: ["sh", "-c", "echo 'ssh: connect to host: No route to host' >&2; exit 255"], notebook)
    yield fleet
    fleet.close()


@pytest.fixture
def host(fleet):
    return fleet.host(CONTROLLER)


def test_what_is_planted_beside_the_system_is_not_asked(host):
    assert host.run("echo $PATH").stdout.startswith("/usr/sbin:/usr/bin:/sbin:/bin:")
    assert "/usr/bin/python3 -I -c" in far_end(sudo=True)


def test_plain_testinfra_works_over_a_channel(host):
    assert host.file("/etc/passwd").exists
    assert host.user("root").uid == 0
    assert host.run("printf %s 'a b'; exit 3").rc == 3
    assert host.run("cat", given="金库").stdout == "金库"


def test_a_distinct_command_runs_once_and_counts_for_each_test(host, notebook):
    first = host.run("date +%N").stdout
    notebook.turn()
    assert host.run("date +%N").stdout == first
    assert len(notebook.page) == 1
    assert len([seen for seen in notebook.all.values() if seen.command == "date +%N"]) == 1


def test_the_observation_carries_answer_time_and_hash(host, notebook):
    before = time.time()
    host.run("echo out; echo err >&2; sleep 0.05; exit 2")
    seen = notebook.all[notebook.page[-1]]
    assert (seen.where, seen.exit_code, seen.stdout, seen.stderr) == (CONTROLLER, 2, "out\n", "err\n")
    assert seen.sha256 == hashlib.sha256(b"out\nerr\n").hexdigest()
    assert before - 1 < seen.started.timestamp() < seen.ended.timestamp() < time.time() + 1
    assert (seen.ended - seen.started).total_seconds() >= 0.05
    assert seen.ended.utcoffset().total_seconds() == 0


def test_the_test_sees_the_secret_and_the_evidence_does_not(host, notebook):
    result = host.run("echo password=hunter22; echo 'token: hvs.%s'", "C" * 30)
    assert "hunter22" in result.stdout
    seen = notebook.all[notebook.page[-1]].model_dump_json()
    assert "hunter22" not in seen
    assert "hvs.C" not in seen


def test_a_command_without_end_is_killed_with_its_children(host):
    begin = time.monotonic()
    with pytest.raises(CommandTimeout, match="no end after"):
        host.run("sleep 31.7 & sleep 31.7; true", timeout=0.3)
    assert time.monotonic() - begin < 5
    assert host.run("pgrep -f '[s]leep 31.7'").rc == 1


def test_slow_commands_of_one_host_run_side_by_side(host):
    begin = time.monotonic()
    host.backend.channel.prefetch([("sleep 0.5; echo a", None), ("sleep 0.5; echo b", None)])
    time.sleep(0.05)
    assert host.run("sleep 0.5; echo a").stdout == "a\n"
    assert host.run("sleep 0.5; echo b").stdout == "b\n"
    assert time.monotonic() - begin < 0.95


def test_a_silent_host_is_told_with_what_ssh_said(fleet):
    with pytest.raises(Unreachable, match="db1: ssh: connect to host: No route to host"):
        fleet.host("db1")
    assert list(fleet.unreachable()) == ["db1"]
    assert fleet.substrate("db1") == "unknown"


def test_a_host_that_never_answers_is_given_up():
    channel = Channel("mute", ["sleep", "60"], open_seconds=0.3)
    with pytest.raises(Unreachable, match="mute: no channel within 0 s"):
        channel.wait_open()
    channel.close()


def test_a_channel_that_breaks_says_so(notebook):
    channel = Channel("gone", ["sh", "-c", far_end(sudo=False)])
    host = host_over(channel, notebook.add)
    with pytest.raises(Unreachable):
        host.run("kill -9 $PPID; sleep 5")
    with pytest.raises(Unreachable):
        host.run("true")
    channel.close()


def test_a_question_after_the_end_does_not_wait(notebook):
    channel = Channel("gone", ["sh", "-c", "echo '\"ready\"'; exec cat >/dev/null"])
    channel.wait_open()
    channel._process.kill()
    began = time.monotonic()
    with pytest.raises(Unreachable):
        host_over(channel, notebook.add).run("true")
    with pytest.raises(Unreachable):
        host_over(channel, notebook.add).run("false")
    assert time.monotonic() - began < 5
    channel.close()


def test_a_line_that_is_cut_off_breaks_the_channel_at_once(notebook):
    channel = Channel("cut", ["sh", "-c", "echo '\"ready\"'; read line; echo '[1, 0'; exec sleep 60"])
    began = time.monotonic()
    with pytest.raises(Unreachable, match="cut"):
        host_over(channel, notebook.add).run("true")
    assert time.monotonic() - began < 5
    channel.close()


def test_a_process_that_holds_stderr_open_does_not_hold_us():
    begin = time.monotonic()
    channel = Channel("held", ["sh", "-c", "sleep 6 >/dev/null & echo 'Connection closed' >&2; exit 255"])
    with pytest.raises(Unreachable, match="held: Connection closed"):
        channel.wait_open()
    assert time.monotonic() - begin < 3
    channel.close()


SENT = "debug1: Local version string SSH-2.0-OpenSSH_10.0\n"
CAME = "debug1: Remote protocol version 2.0, remote software version OpenSSH_10.0\n"


@pytest.mark.parametrize(
    ("said", "met"),
    [
        (SENT + SENT + CAME + CAME + "Permission denied (publickey).", True),
        (SENT + CAME + "Unable to negotiate: no matching cipher found.", True),  # the jump's connection is shared
        (SENT + SENT + CAME + "Connection closed by UNKNOWN port 65535", False),  # the jump answered, the node did not
        (SENT + "Connection closed by UNKNOWN port 65535", False),
        ("ssh: Could not resolve hostname db1", False),
    ],
)
def test_an_attempt_that_met_no_server_is_no_finding(said, met):
    spec = importlib.util.spec_from_file_location("asking", CHECKOUT / "compliance_tests/asking.py")
    asking = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(asking)
    assert asking.met_server(said) is met
