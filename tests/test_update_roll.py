# SPDX-License-Identifier: Apache-2.0
"""Updates that roll through the hosts: their order, what refuses them, what stops them, and what a host says of itself."""

import importlib.util
import json
import os
from importlib.machinery import SourceFileLoader
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


# ---- what a host says of itself


@pytest.fixture
def program(tmp_path, monkeypatch):
    """jinku-updates, on a host below ``tmp_path``."""
    monkeypatch.setenv("JINKU_PROC", str(tmp_path / "proc"))
    monkeypatch.setenv("JINKU_ROOT", str(tmp_path))
    loader = SourceFileLoader("jinku_updates", str(ROLE / "files/usr/local/sbin/jinku-updates"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader.exec_module(module)
    return module


SIMULATED = """\
Reading package lists...
The following packages have been kept back:
  held
Inst libssl3t64 [3.5.1-1] (3.5.1-1+deb13u1 Debian-Security:13/stable-security [amd64]) []
Inst libgcrypt20 [1.11.0-7] (1.11.0-7+b1 Debian:13.2/stable, Debian-Security:13/stable-security [amd64])
Inst tzdata [2025b-4] (2025b-4+deb13u1 Debian:13.2/stable-updates [all])
Inst linux-image-6.12.57+deb13-amd64 (6.12.57-1 Debian:13.2/stable [amd64])
Conf libssl3t64 (3.5.1-1+deb13u1 Debian-Security:13/stable-security [amd64])
"""


def test_what_apt_says_is_understood(program):
    told = [tuple(one.values()) for one in program.parsed(SIMULATED)]
    assert told == [
        ("libssl3t64", "3.5.1-1", "3.5.1-1+deb13u1", True),
        ("libgcrypt20", "1.11.0-7", "1.11.0-7+b1", True),
        ("tzdata", "2025b-4", "2025b-4+deb13u1", False),
        ("linux-image-6.12.57+deb13-amd64", "", "6.12.57-1", False),
    ]
    assert program.parsed("Reading package lists...\n0 upgraded, 0 newly installed.\n") == []


def test_what_dpkg_did_not_finish_is_named(program):
    assert program.unfinished("ii |a\nrc |gone\niF |broken:amd64\niU |unpacked\nhi |held\niHR|worse\n") == [
        "broken:amd64", "unpacked", "worse",
    ]  # fmt: skip


OLD = "7f00-7f01 r-xp 00002000 00:158 1000 /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)\n"


def test_a_program_is_old_whose_file_has_gone(program):
    assert program.is_old(OLD, started=10, newest=0)
    assert not program.is_old(OLD.replace(" (deleted)", ""), started=10, newest=20)
    assert not program.is_old(OLD.replace("r-xp", "r--p"), started=10, newest=0), "what is only read is data"
    assert not program.is_old(OLD.replace("/usr/lib", "/memfd:x"), started=10, newest=0)


def test_a_python_program_is_old_that_began_before_a_module_came(program):
    python = "7f00-7f01 r-xp 00002000 00:158 1000 /usr/lib/x86_64-linux-gnu/libpython3.13.so.1.0\n"
    assert program.is_old(python, started=10, newest=20)
    assert not program.is_old(python, started=30, newest=20)


def test_only_packages_with_python_modules_count(program, tmp_path):
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "netbase.list").write_text("/.\n/etc/services\n")
    assert program.newest_module() == 0
    (info / "python3-werkzeug.list").write_text("/.\n/usr/lib/python3/dist-packages/werkzeug/__init__.py\n")
    assert program.newest_module() == (info / "python3-werkzeug.list").stat().st_ctime


@pytest.mark.parametrize(
    ("process", "group", "unit"),
    [
        ("70", "0::/system.slice/ssh.service\n", "ssh.service"),
        ("71", "0::/system.slice/system-postgresql.slice/postgresql@17-main.service", "postgresql@17-main.service"),
        ("72", "0::/user.slice/user-1000.slice/session-3.scope", ""),
        ("73", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", ""),
        ("1", "0::/init.scope", "init"),
    ],
)
def test_what_can_be_restarted_is_a_service(program, process, group, unit):
    assert program.unit_of(process, group) == unit


def process(root, number, unit, maps, ticks=1000):
    folder = root / "proc" / str(number)
    folder.mkdir(parents=True)
    (folder / "cgroup").write_text(f"0::/system.slice/{unit}\n")
    (folder / "stat").write_text(f"{number} (a) name) S " + " ".join(["0"] * 18) + f" {ticks} 0 0\n")
    (folder / "maps").write_text(maps)
    (root / "proc/stat").write_text("cpu 1 2\nbtime 1000\n")


def test_units_that_run_old_code_are_found_and_some_need_a_restart_of_the_machine(program, tmp_path):
    process(tmp_path, 70, "ssh.service", OLD)
    process(tmp_path, 71, "dbus.service", OLD)
    process(tmp_path, 72, "cron.service", OLD.replace(" (deleted)", ""))
    assert program.old_units() == ["dbus.service", "ssh.service"]
    assert program.reasons(program.old_units()) == ["dbus.service runs the code from before"]


def test_a_newer_kernel_and_a_package_that_asks_are_reasons(program, tmp_path):
    (tmp_path / "boot").mkdir()
    (tmp_path / f"boot/vmlinuz-{os.uname().release}").touch()
    assert program.reasons([]) == []
    (tmp_path / "run").mkdir()
    (tmp_path / "run/reboot-required").touch()
    assert "asks for it" in program.reasons([])[0]
    (tmp_path / "boot/vmlinuz-99.10.1").touch()
    (tmp_path / "boot/vmlinuz-99.9.1").touch()
    assert program.reasons([]) == [f"kernel 99.10.1 is installed, {os.uname().release} runs"]


@pytest.fixture
def said(program, monkeypatch):
    """Commands of the program, and what each gives: text, or an error. Key: a word of it."""
    ran, gives = [], {"--simulate": SIMULATED}

    def command(*words):
        ran.append(" ".join(words))
        result = next((gives[word] for word in words if word in gives), "")
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(program, "run", command)
    monkeypatch.setattr(program, "old_units", lambda: ["init", "ssh.service", "dbus.service"])
    return ran, gives


def test_the_document_is_what_the_controller_reads(program, said, tmp_path, capsys):
    (tmp_path / "var/lib/jinku").mkdir(parents=True)
    assert program.main(["begin"]) == 0
    assert program.main(["look"]) == 0
    told = updates.parse("db1", capsys.readouterr().out)
    assert told.error == ""
    assert told.packages[0] == Package("libssl3t64", "3.5.1-1", "3.5.1-1+deb13u1", security=True)
    assert (told.restart, told.reboot) == (("init", "ssh.service"), ("dbus.service runs the code from before",))
    assert told.unsettled
    assert any("logger" in line and "libssl3t64: 3.5.1-1, will be" in line for line in said[0])


def test_restart_leaves_what_cannot_be_restarted(program, said, capsys):
    assert program.main(["restart"]) == 0
    assert said[0] == ["systemctl daemon-reexec", "systemctl restart -- ssh.service"]
    assert "restarted init ssh.service" in capsys.readouterr().out


def test_a_new_host_is_brought_up_to_date_once(program, said, tmp_path, capsys):
    ran, gives = said
    assert program.main(["fresh"]) == 0
    assert "upgraded 4" in capsys.readouterr().out
    assert any("update" in line for line in ran)
    assert any("--force-confold" in line and "--with-new-pkgs" in line for line in ran)
    gives["update"] = program.Failed("E: no mirror")
    assert program.main(["fresh"]) == 0, "a mirror that is away stops no recovery"
    assert "not brought up to date" in capsys.readouterr().out
    (tmp_path / "var/lib/aide").mkdir(parents=True)
    (tmp_path / "var/lib/aide/jinku.db").touch()
    ran.clear()
    assert program.main(["fresh"]) == 0
    assert ran == []


def test_the_nightly_upgrade_is_no_alarm_and_what_differed_before_stays_one(program, said, tmp_path):
    ran, gives = said
    mark, base = tmp_path / "var/lib/jinku/changed", tmp_path / "var/lib/aide/jinku.db"
    mark.parent.mkdir(parents=True)
    assert program.main(["nightly"]) == 0, "nothing is settled yet"
    base.parent.mkdir(parents=True)
    base.touch()
    gives["check"] = program.Failed("aide: 4")
    assert program.main(["nightly"]) == 1
    assert program.main(["settle"]) == 0
    assert not mark.exists()
    assert not [line for line in ran if "jinku-integrity settle" in line]
    del gives["check"]
    assert program.main(["nightly"]) == 0
    assert program.main(["settle"]) == 0
    assert [line for line in ran if "jinku-integrity settle" in line]
    mark.unlink()
    gives["--simulate"] = ""
    assert program.main(["nightly"]) == 0
    assert not mark.exists()


def test_lists_that_cannot_be_fetched_are_an_error_of_look(program, said, capsys):
    said[1]["update"] = program.Failed("E: no mirror")
    assert program.main(["look"]) == 1
    assert "no mirror" in capsys.readouterr().err
    assert program.main(["erase"]) == 1


# ---- the playbook


def test_the_integrity_check_settles_last_and_hosts_go_one_by_one():
    plays = yaml.safe_load((CHECKOUT / "update.yml").read_text())
    assert all(play["serial"] == 1 for play in plays)
    assert [one["role"] for one in plays[-1]["roles"]] == ["integrity"]


def test_settings_of_ours_stay_and_no_package_is_removed():
    tasks = yaml.safe_load(Path(ROLE / "tasks/roll.yml").read_text())
    (apt,) = [task["ansible.builtin.apt"] for task in tasks if "ansible.builtin.apt" in task]
    assert (apt["upgrade"], apt["dpkg_options"]) == ("safe", "force-confdef,force-confold")
