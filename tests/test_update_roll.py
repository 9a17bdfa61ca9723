# SPDX-License-Identifier: Apache-2.0
"""Updates that roll through the hosts: their order, what refuses them and what stops them."""

from pathlib import Path

import pytest
import yaml
from update_world import LAB, World, waiting

from jinku import updates
from jinku.model import Topology, load_environment
from jinku.model.update_order import UPDATE_ORDER, update_order
from jinku.places import CHECKOUT, Places
from jinku.updates import Hands, Package, RefusedError, StoppedError, Waiting

ROLE = CHECKOUT / "hardening/updates"
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


# ---- the playbook


def test_the_integrity_check_settles_last_and_hosts_go_one_by_one():
    plays = yaml.safe_load((CHECKOUT / "update.yml").read_text())
    assert all(play["serial"] == 1 for play in plays)
    assert [one["role"] for one in plays[-1]["roles"]] == ["integrity"]


def test_settings_of_ours_stay_and_no_package_is_removed():
    tasks = yaml.safe_load(Path(ROLE / "tasks/roll.yml").read_text())
    (apt,) = [task["ansible.builtin.apt"] for task in tasks if "ansible.builtin.apt" in task]
    assert (apt["upgrade"], apt["dpkg_options"]) == ("safe", "force-confdef,force-confold")
