# SPDX-License-Identifier: Apache-2.0
"""Updates that roll through the hosts: their order, what refuses them and what stops them."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from jinku import cli, updates
from jinku.cli.exit_codes import ExitCode
from jinku.converge import Convergence, Trouble
from jinku.model import Topology, load_environment
from jinku.model.update_order import UPDATE_ORDER, update_order
from jinku.places import CHECKOUT, Places
from jinku.updates import Hands, Package, RefusedError, Roll, StoppedError, Waiting

ROLE = CHECKOUT / "hardening/updates"
LAB = Topology.of(load_environment("lab"))
STANDARD = Topology.of(load_environment("standard"))


# ---- the order


def names(topology, *primaries):
    return [node.name for node in update_order(topology, primaries)]


def test_the_order_of_small():
    assert names(LAB, "db1") == ["aud2", "db2", "ops2", "room1", "aud1", "sec1", "db1", "crm1", "edge1", "ops1"]


def test_every_node_is_updated_once_and_every_tier_has_its_turn():
    for topology in (LAB, STANDARD):
        assert sorted(names(topology, "db1")) == sorted(node.name for node in topology.nodes)
        assert {tier for node in topology.nodes for tier in node.tiers} <= set(UPDATE_ORDER)


def test_a_primary_at_the_other_site_comes_after_the_standby_here():
    order = names(LAB, "db2")
    assert order.index("db1") < order.index("db2")
    assert [name for name in order if name != "db2"] == [name for name in names(LAB, "db1") if name != "db2"]


def test_every_standby_comes_before_the_primary():
    order = names(STANDARD, "db1")
    assert all(order.index(standby) < order.index("db1") for standby in ("db2", "db3", "db4"))


@pytest.mark.parametrize("topology", [LAB, STANDARD])
def test_the_way_in_is_the_last_of_its_site(topology):
    order = update_order(topology, ["db1"])
    for site in topology.sites:
        assert "bastion" in [node for node in order if node.site == site][-1].tiers


# ---- the roll


class World:
    """Hosts that do what a test says. ``waits``: name -> Waiting; ``unwell``: what `well` says after so many changes."""

    def __init__(self, waits=(), unwell=None, fails=()):
        self.waits = {one.node: one for one in waits}
        self.unwell, self.fails = unwell or {}, fails
        self.changed, self.told, self.silent = [], [], set()
        self.installed = {node.name: {"libc6": "1", "openssl": "1"} for node in LAB.nodes}

    def look(self, nodes, _fresh):
        return [self.waits.get(node.name, Waiting(node.name)) for node in nodes]

    def well(self, _seconds):
        return self.unwell.get(len(self.changed), [])

    def change(self, node):
        self.changed.append(node.name)
        waiting = self.waits.pop(node.name)
        self.installed[node.name] |= {package.name: package.new for package in waiting.packages}
        return "Upgrade the packages: postinst ended with 1" if node.name in self.fails else ""

    def versions(self, node):
        return None if node.name in self.silent else dict(self.installed[node.name])

    def roll(self):
        hands = Hands(self.look, self.well, self.versions, self.change)
        return Roll(update_order(LAB, ["db1"]), hands, self.told.append)

    def through(self):
        roll = self.roll()
        todo = roll.waiting()
        for number, (node, waiting) in enumerate(todo):
            roll.host(node, waiting, [one for one, _ in todo[number + 1 :]])
        return roll


def waiting(*nodes):
    return [Waiting(node, (Package("openssl", "1", "2", security=True),)) for node in nodes]


def test_hosts_with_something_to_do_are_done_in_order_and_no_other():
    world = World(waiting("edge1", "db1", "db2"))
    roll = world.through()
    assert world.changed == ["db2", "db1", "edge1"]
    assert [str(package) for done in roll.done for package in done.changed] == ["openssl 1 -> 2"] * 3
    assert "db2: openssl 1 -> 2" in world.told


def test_nothing_to_do_touches_nothing():
    world = World()
    assert world.through().done == []
    assert world.changed == []


def test_a_roll_that_was_stopped_goes_on_with_what_is_left():
    """Also where every package is new already, and only the restart or the integrity check is missing."""
    world = World([Waiting("db2", restart=("postgresql@17-main.service",)), Waiting("crm1", unsettled=True)])
    world.through()
    assert world.changed == ["db2", "crm1"]


def test_a_machine_that_should_restart_is_no_work_by_itself():
    world = World([Waiting("db2", reboot=("kernel 6.12.2 is installed, 6.12.1 runs",))])
    assert world.through().done == []


def test_where_the_environment_allows_it_a_machine_that_should_restart_is_work():
    world = World([Waiting("db2", reboot=("kernel 6.12.2 is installed, 6.12.1 runs",))])
    roll = world.roll()
    roll.reboot = True
    assert [node.name for node, _ in roll.waiting()] == ["db2"]


def test_what_is_not_well_refuses_the_roll_before_anything_is_touched():
    world = World(waiting("db2"), unwell={0: ["crm1: degraded, jinku-crm.service"]})
    with pytest.raises(RefusedError, match=r"nothing was touched:\n  crm1: degraded, jinku-crm"):
        world.through()
    assert world.changed == []


def test_a_host_that_does_not_say_what_waits_refuses_the_roll():
    world = World([*waiting("db2"), Waiting("crm1", error="apt-get update: E: no mirror")])
    with pytest.raises(RefusedError, match="crm1: apt-get update: E: no mirror"):
        world.through()
    assert world.changed == []


def test_a_host_that_fails_stops_the_roll_before_the_next():
    world = World(waiting("aud2", "db2", "crm1"), fails=("db2",))
    roll = world.roll()
    todo = roll.waiting()
    roll.host(*todo[0], [node for node, _ in todo[1:]])
    with pytest.raises(StoppedError) as stopped:
        roll.host(*todo[1], [node for node, _ in todo[2:]])
    text = str(stopped.value)
    assert text.startswith("db2: Upgrade the packages: postinst ended with 1; the roll stopped there")
    assert "changed on db2: openssl 1 -> 2" in text
    assert "not touched: crm1" in text
    assert "jinku ssh db2 -- sudo apt-get install --allow-downgrades openssl=1" in text
    assert world.changed == ["aud2", "db2"]
    assert [bool(done.error) for done in roll.done] == [False, True]


def test_a_host_after_which_another_is_not_well_stops_the_roll_too():
    world = World(waiting("db2", "crm1"), unwell={1: ["crm1: service down"]})
    with pytest.raises(StoppedError, match="crm1: service down; the roll stopped there"):
        world.through()
    assert world.changed == ["db2"]


def test_a_host_that_answers_no_more_has_its_plan_told():
    world = World(waiting("db2"), fails=("db2",))
    roll = world.roll()
    ((node, what),) = roll.waiting()
    change = world.change
    roll.hands = Hands(world.look, world.well, world.versions, lambda one: (world.silent.add(one.name), change(one))[1])
    with pytest.raises(StoppedError, match=r"does not say which packages were changed; were to be: openssl 1 -> 2"):
        roll.host(node, what, [])


def test_an_interrupted_host_is_noted_as_such():
    def interrupted(_node):
        raise KeyboardInterrupt

    world = World(waiting("db2"))
    roll = world.roll()
    roll.hands = Hands(world.look, world.well, world.versions, interrupted)
    ((node, what),) = roll.waiting()
    with pytest.raises(KeyboardInterrupt):
        roll.host(node, what, [])
    assert roll.done[0].as_json()["error"] == "was interrupted"


def test_a_package_that_comes_anew_has_no_way_back():
    assert updates.way_back("db1", [Package("new", "", "1")]) == ""
    assert updates.difference({"a": "1", "b": "1"}, {"a": "2", "c": "1"}) == (
        Package("a", "1", "2"),
        Package("b", "1", ""),
        Package("c", "", "1"),
    )


def test_words_that_are_no_document_are_an_error_of_the_host():
    assert "cannot be understood" in updates.parse("db1", "Welcome").error
    assert "cannot be understood" in updates.parse("db1", '{"packages": []}').error


@pytest.mark.parametrize(
    ("looks", "result", "told"),
    [
        ([[], []], [], 0),
        ([["db2: does not follow"], [], ["db2: does not follow"], [], []], [], 1),
        ([["db2: does not follow"]] * 99, ["db2: does not follow"], 1),
    ],
)
def test_well_is_what_is_well_twice_in_a_row(monkeypatch, looks, result, told):
    clock, said = [0.0], []
    left = iter(looks)
    monkeypatch.setattr(updates, "_unwell", lambda *_words: next(left))
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    assert updates.well(LAB, Places("lab"), 60, said.append) == result
    assert len(said) == told


# ---- the command


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


def test_the_roll_holds_the_environment(environment, monkeypatch):
    from jinku import lock

    in_place(monkeypatch, World())
    with lock.hold(environment, "up"):
        assert run() == ExitCode.LOCKED


# ---- the playbook


def test_the_integrity_check_settles_last_and_hosts_go_one_by_one():
    plays = yaml.safe_load((CHECKOUT / "update.yml").read_text())
    assert all(play["serial"] == 1 for play in plays)
    assert [one["role"] for one in plays[-1]["roles"]] == ["integrity"]


def test_settings_of_ours_stay_and_no_package_is_removed():
    tasks = yaml.safe_load(Path(ROLE / "tasks/roll.yml").read_text())
    (apt,) = [task["ansible.builtin.apt"] for task in tasks if "ansible.builtin.apt" in task]
    assert (apt["upgrade"], apt["dpkg_options"]) == ("safe", "force-confdef,force-confold")
