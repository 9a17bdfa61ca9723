# SPDX-License-Identifier: Apache-2.0
"""`jinku update`: what it prints, what it leaves in the journal, and how it ends."""

import json
import shutil

import pytest
from update_world import LAB, World, waiting

from jinku import cli, updates
from jinku.cli.exit_codes import ExitCode
from jinku.converge import Convergence, Trouble
from jinku.places import Places
from jinku.updates import Package, Waiting


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """An environment that seems to be up."""
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("JINKU_ENV", raising=False)
    monkeypatch.setattr("jinku.cli.update.is_up", lambda _places: True)
    monkeypatch.setattr(updates, "primaries", lambda *_words: ["db1"])
    return Places("lab")


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main(["update", *words])
    return ended.value.code


def in_place(monkeypatch, world):
    """Put a world in the place of the hosts."""
    monkeypatch.setattr(updates, "look", lambda _places, nodes, fresh: world.look(nodes, fresh))
    monkeypatch.setattr(updates, "well", lambda _topology, _places, seconds, _tell: world.well(seconds))
    monkeypatch.setattr(updates, "versions", lambda _places, node: world.versions(node))

    def playbook(_env, arguments, *_words, file, **_more):
        assert file == "update.yml"
        failed = world.change(LAB.node(arguments[1]))
        return Convergence(code=2, troubles=[Trouble(arguments[1], "", "Upgrade", failed)]) if failed else Convergence()

    monkeypatch.setattr("jinku.cli.playbook.run", playbook)


def test_the_command_updates_tells_the_time_and_leaves_a_line_in_the_journal(environment, monkeypatch, capsys):
    world = World(waiting("db2", "edge1"))
    in_place(monkeypatch, world)
    assert run() == ExitCode.OK
    out = capsys.readouterr().out
    assert "host db2 (1 of 2)" in out
    assert "s  edge1: packages changed: 1" in out
    line = json.loads(environment.journal.read_text().splitlines()[-1])
    assert (line["verb"], line["ok"]) == ("update", True)
    assert [host["changed"] for host in line["hosts"]] == [["openssl 1 -> 2"], ["openssl 1 -> 2"]]
    assert run() == ExitCode.OK
    assert "nothing to update" in capsys.readouterr().out


@pytest.mark.usefixtures("environment")
def test_the_command_keeps_to_the_hosts_that_are_named(monkeypatch, capsys):
    world = World(waiting("db2", "edge1"))
    in_place(monkeypatch, world)
    assert run("--node", "edge1") == ExitCode.OK
    assert world.changed == ["edge1"]
    assert run("--node", "nowhere") == ExitCode.USAGE
    assert "there is no node 'nowhere'" in capsys.readouterr().err


def test_a_stopped_roll_ends_with_1_and_is_in_the_journal(environment, monkeypatch, capsys):
    world = World(waiting("db2", "edge1"), fails=("db2",))
    in_place(monkeypatch, world)
    assert run() == ExitCode.FAILED
    assert "not touched: edge1" in capsys.readouterr().err
    line = json.loads(environment.journal.read_text().splitlines()[-1])
    assert (line["ok"], [host["node"] for host in line["hosts"]]) == (False, ["db2"])
    assert "postinst" in line["error"]


@pytest.mark.parametrize("fails", [(), ("edge1",)])
def test_a_state_folder_that_vanishes_under_the_roll_is_named_beside_what_was_done(
    environment, monkeypatch, capsys, fails
):
    world = World(waiting("db2", "edge1"), fails=fails)
    in_place(monkeypatch, world)
    change = world.change

    def vanishing(node):
        if node.name == "edge1":
            shutil.rmtree(environment.state)
        return change(node)

    monkeypatch.setattr(world, "change", vanishing)
    assert run() == ExitCode.FAILED
    said = capsys.readouterr().err
    assert f"{environment.state}: is gone since this began" in said
    assert "hosts begun: db2, edge1" in said
    assert ("postinst" in said) == bool(fails)
    assert "Traceback" not in said


def test_the_list_names_versions_and_changes_nothing(environment, monkeypatch, capsys):
    world = World([*waiting("db2"), Waiting("crm1", reboot=("dbus.service runs the code from before",))])
    in_place(monkeypatch, world)
    assert run("--list") == ExitCode.OK
    out = capsys.readouterr().out.splitlines()
    assert "db2\topenssl\t1\t2\tyes" in out
    assert "edge1: nothing to do" in out
    assert "crm1: should be restarted as a machine: dbus.service runs the code from before" in out
    assert world.changed == []
    assert not environment.journal.exists()


HELD = Waiting(
    "db1",
    held=("libssl3t64", "tzdata"),
    kept=(Package("libssl3t64", "3.5.1-1", "3.5.1-2", security=True), Package("openssl", "3.5.1-1", "3.5.1-2")),
)
SAID = (
    "db1: on hold: libssl3t64, tzdata; kept back by that: libssl3t64 3.5.1-1 -> 3.5.1-2 (security), openssl 3.5.1-1 -> 3.5.1-2; "
    "to be released by li-na or whoever runs jinku: jinku ssh db1 -- sudo apt-mark unhold libssl3t64 tzdata"
)


@pytest.mark.usefixtures("environment")
def test_the_list_says_what_is_kept_back_on_hold_and_how_it_is_released(monkeypatch, capsys):
    in_place(monkeypatch, World([HELD, Waiting("aud1", held=("openssl",))]))
    assert run("--list") == ExitCode.OK
    out = capsys.readouterr().out.splitlines()
    assert "db1: 2 kept back, 1 of them for security" in out
    assert SAID in out
    # Nobody who runs hosts has an account in the audit zone.
    released = "to be released by whoever runs jinku: jinku ssh aud1 -- sudo apt-mark unhold openssl"
    assert f"aud1: on hold: openssl; kept back by that: nothing yet; {released}" in out


@pytest.mark.parametrize("others", [(), ("edge1",)])
@pytest.mark.usefixtures("environment")
def test_the_roll_leaves_what_is_on_hold_and_says_so(monkeypatch, capsys, others):
    world = World([HELD, *waiting(*others)])
    in_place(monkeypatch, world)
    assert run() == ExitCode.OK
    assert world.changed == list(others), "what is on hold is no work"
    out = capsys.readouterr().out.splitlines()
    assert SAID in out
    last = (
        "packages on hold were left as they are (see above): db1" if others else "nothing to update but what is on hold"
    )
    assert out[-1] == last


def test_the_roll_holds_the_environment(environment, monkeypatch):
    from jinku import lock

    in_place(monkeypatch, World())
    with lock.hold(environment, "up"):
        assert run() == ExitCode.LOCKED
