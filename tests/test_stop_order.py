# SPDX-License-Identifier: Apache-2.0
"""The order in which hosts stop when the battery is low: whole, the same as that of the flows, and in the model only."""

import copy
import os
import re
import stat
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from jinku.model import InputError, Topology, load_environment
from jinku.model.environment import Tier
from jinku.model.inventory import inventory
from jinku.model.power import STOP_ORDER, longest_stop, stop_after, stop_stage
from jinku.model.topology import FLOWS
from jinku.places import CHECKOUT, Places

LAB: dict[str, Any] = yaml.safe_load((CHECKOUT / "inventories/lab/environment.yaml").read_text(encoding="utf-8"))
#: Flows whose source stops after their destination, and why that is right.
BACKWARDS = {
    "vault>postgres": "the vault rotates passwords now and then; everybody needs the vault to open what is shut",
    "monitor>edge_https": "the monitor looks on, to tell people; it does not need the edge",
    "backup>attachments": "what a copy did not get is fetched by the next one",
    "log>witness": "seals wait on the log host's disk, and the last lines are worth more than the last seal",
}


def topology(tmp_path: Path, **changes: Any) -> Topology:
    file = tmp_path / "environment.yaml"
    file.write_text(yaml.safe_dump({**copy.deepcopy(LAB), **changes}), encoding="utf-8")
    return Topology.of(load_environment(file))


def test_every_tier_stops_in_one_stage() -> None:
    assert Counter(tier for stage in STOP_ORDER for tier in stage) == Counter(get_args(Tier))


def test_who_asks_stops_no_later_than_who_answers() -> None:
    tiers = set(get_args(Tier))
    wrong = {
        flow.id
        for flow in FLOWS
        if flow.source in tiers
        and flow.destination in tiers
        and stop_stage([flow.source]) > stop_stage([flow.destination])  # type: ignore[list-item]
    }
    assert wrong == set(BACKWARDS)


def test_a_node_waits_for_the_last_of_its_tiers() -> None:
    assert stop_stage(["bastion", "monitor"]) == stop_stage(["monitor"])
    assert stop_stage(["edge", "vault"]) == stop_stage(["vault"])
    assert stop_stage([]) == 0


@pytest.mark.parametrize("name", ["lab", "small", "standard"])
def test_the_edge_goes_first_and_the_vault_last_but_for_the_machine_beside_the_ups(name: str) -> None:
    env = load_environment(name)
    nodes = [node for node in Topology.of(env).nodes if node.site == "a"]
    after = {node.name: stop_after(env, node.tiers) for node in nodes}
    edges = {name for name in after if name.startswith("edge")}
    assert {name for name, seconds in after.items() if seconds == 0} == edges
    last = max((one for one in after if one != "room1"), key=after.__getitem__)
    assert "vault" in next(node.tiers for node in nodes if node.name == last)
    assert longest_stop(env, (node.tiers for node in nodes)) == max(after.values())


def test_the_delays_are_data(tmp_path: Path) -> None:
    hosts = inventory(topology(tmp_path, room={"stop_step_seconds": 40}), Places("lab"))["_meta"]["hostvars"]
    stop = {name: values["jinku_node"]["stop_after"] for name, values in hosts.items()}
    assert (stop["edge1"], stop["crm1"], stop["db1"], stop["db2"], stop["sec1"]) == (0, 40, 120, 120, 200)


def test_a_site_hears_of_its_own_ups_only(tmp_path: Path) -> None:
    ups = {
        "a": {"unit": "u1", "address": "192.0.2.1", "name": "a.example.com"},
        "b": {"unit": "u1", "address": "192.0.2.2", "port": 3494, "name": "b.example.com"},
    }
    made = topology(tmp_path, room={"ups": ups})
    pairs = {(p.source, p.destination, p.port) for p in made.allowed() if p.id.endswith(">ups")}
    assert pairs == {(node.name, f"ups_{node.site}", 3493 if node.site == "a" else 3494) for node in made.nodes}
    addresses = {str(net) for p in made.allowed() if p.id == "site_b>ups" for net in p.destination_networks}
    assert addresses == {"192.0.2.2/32"}


def test_without_a_ups_nobody_may_reach_one() -> None:
    small = Topology.of(load_environment("small"))
    assert small.ups == {}
    assert not [pair for pair in small.allowed() if pair.id.endswith(">ups")]


@pytest.mark.parametrize(
    ("site", "changes", "said"),
    [
        ("c", {}, "room.ups.c: there is no site 'c'; one of a, b"),
        ("a", {"address": "10.77.0.68"}, "room.ups.a.address: 10.77.0.68 is db1's; "),
        ("a", {"address": "10.77.0.80"}, "room.ups.a.address: 10.77.0.80 lies in a zone of hosts; "),
        ("a", {"unit": "ups a; rm"}, "room.ups.a.unit: "),
        *(("a", {"unit": f"ups{sign}a"}, "room.ups.a.unit: ") for sign in ('"', "'", "#", "\\", "\n", "=", "]", " ")),
        ("a", {"unit": "ups-a\n"}, "room.ups.a.unit: "),
        ("a", {"name": "-x"}, "room.ups.a.name: "),
        ("a", {"name": "power.example.com\n"}, "room.ups.a.name: "),
        ("a", {"name": 'power.example.com" 0 0'}, "room.ups.a.name: "),
        ("a", {"port": 0}, "room.ups.a.port: "),
    ],
)
def test_a_ups_that_cannot_be_asked_is_refused(tmp_path: Path, site: str, changes: dict[str, Any], said: str) -> None:
    ups = {"address": "192.0.2.1", "name": "power.example.com", **changes}
    with pytest.raises(InputError) as caught:
        topology(tmp_path, room={"ups": {site: ups}})
    assert any(said in line for line in caught.value.problems), caught.value.problems


@pytest.mark.parametrize("seconds", [0, 4, 301])
def test_steps_that_are_no_order_or_outlast_any_battery_are_refused(tmp_path: Path, seconds: int) -> None:
    with pytest.raises(InputError, match=r"room\.stop_step_seconds"):
        topology(tmp_path, room={"stop_step_seconds": seconds})


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The program of the lab's room, with a `upsc` and a `systemctl` that note what they are asked in ``done``."""
    tools, done = tmp_path / "bin", tmp_path / "done"
    tools.mkdir()
    (tmp_path / "ups.conf").write_text("maxretry = 3\n[ups-a]\n  driver = dummy-ups\n[ups-b]\n  driver = dummy-ups\n")
    text = (CHECKOUT / "roles/room/files/usr/local/libexec/jinku-ups").read_text(encoding="utf-8")
    moved = tmp_path / "jinku-ups"
    moved.write_text(text.replace("/etc/jinku/power/", f"{tmp_path}/"), encoding="utf-8")

    def run(verb: str, says: str = "OL", *, active: bool = True) -> subprocess.CompletedProcess[str]:
        done.unlink(missing_ok=True)
        asks = f'case "$*" in *is-active*) exit {0 if active else 3};; esac'
        (tools / "systemctl").write_text(f'#!/bin/sh\n{asks}\necho "$@" >> {done}\n', encoding="utf-8")
        (tools / "upsc").write_text(
            f'#!/bin/sh\ncase $1 in -l) printf "ups-a\\nups-b\\n";; ups-a@*) echo OL;; *) echo "{says}";; esac\n'
        )
        for tool in tools.iterdir():
            tool.chmod(0o755)
        path = {"PATH": f"{tools}:/usr/bin:/bin"}
        return subprocess.run(["sh", moved, verb], env=path, capture_output=True, text=True, check=False)

    return run


Program = Callable[..., subprocess.CompletedProcess[str]]


def test_upsd_is_not_restarted_while_a_ups_is_on_battery(program: Program, tmp_path: Path) -> None:
    for says, restarted in (("OL", True), ("OL CHRG", True), ("OB", False), ("OB LB", False), ("", False)):
        done = program("renew", says)
        assert ((done.returncode == 0), (tmp_path / "done").exists()) == (restarted, restarted), (says, done.stderr)


def test_new_settings_of_the_devices_wait_for_mains_unless_nobody_listens_yet(program: Program, tmp_path: Path) -> None:
    all_of_them = "restart nut-server.service jinku-ups@ups-a.service jinku-ups@ups-b.service\n"
    for says, active in (("OL", True), ("OB", False), ("", False)):
        assert program("anew", says, active=active).returncode == 0
        assert (tmp_path / "done").read_text() == all_of_them
    for says in ("OB", "OB LB", "FSD OB LB", ""):
        refused = program("anew", says)
        assert (refused.returncode, refused.stderr) == (1, "ups-b: is not on mains\n")
        assert not (tmp_path / "done").exists()


@pytest.fixture
def taken(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """The program by which a host's upsmon takes new settings, with a `upsc` and a `systemctl` that note what they are asked: (exit code, what was done)."""
    tools, done, settings = tmp_path / "bin", tmp_path / "done", tmp_path / "upsmon.conf"
    tools.mkdir()
    settings.write_text('    MONITOR ups-a@192.0.2.1:3493 1 "host" "x" secondary\n')
    text = (CHECKOUT / "hardening/power/files/usr/local/libexec/jinku-power-settings").read_text(encoding="utf-8")
    for folder in ("/etc/jinku/power", "/run/jinku-power"):
        text = text.replace(folder, str(tmp_path))
    (tmp_path / "moved").write_text(text, encoding="utf-8")

    def run(says: str, *, active: bool = True) -> tuple[int, str]:
        done.write_text("")
        asks = f'case "$*" in *is-active*) exit {0 if active else 3};; esac'
        (tools / "systemctl").write_text(f'#!/bin/sh\n{asks}\necho "$1" >> {done}\n', encoding="utf-8")
        (tools / "upsc").write_text(f'#!/bin/sh\ntest "$*" = "ups-a@192.0.2.1:3493 ups.status" && echo "{says}"\n')
        for tool in tools.iterdir():
            tool.chmod(0o755)
        path = {"PATH": f"{tools}:/usr/bin:/bin"}
        ended = subprocess.run(["sh", tmp_path / "moved"], env=path, capture_output=True, text=True, check=False)
        return ended.returncode, done.read_text().strip()

    return run


Taken = Callable[..., tuple[int, str]]


def test_upsmon_is_restarted_for_its_settings_on_mains_only(taken: Taken) -> None:
    assert taken("OL CHRG") == (0, "try-restart")
    assert taken("") == (1, "")  # silent: it may count the seconds since the UPS was on battery
    assert taken("", active=False) == (0, "try-restart")  # hears nothing yet


def test_on_battery_upsmon_reads_new_settings_once_and_goes_on(taken: Taken, tmp_path: Path) -> None:
    assert [taken("OB"), taken("OB DISCHRG")] == [(1, "reload"), (1, "")]
    newer = (tmp_path / "taken").stat().st_mtime + 5
    os.utime(tmp_path / "upsmon.conf", (newer, newer))
    assert taken("OB") == (1, "reload")
    assert taken("OL") == (0, "try-restart")


@pytest.mark.parametrize("says", ["OB LB", "FSD OB LB", "FSD OL", "FSD"])
def test_a_host_that_waits_for_its_turn_to_stop_is_not_disturbed(taken: Taken, says: str) -> None:
    assert taken(says) == (1, "")


def test_nobody_restarts_upsmon_but_the_program_that_asks_the_ups() -> None:
    agent = (CHECKOUT / "hardening/power/templates/etc/jinku/agent.d/power.hcl.j2").read_text(encoding="utf-8")
    handler = (CHECKOUT / "hardening/power/handlers/main.yml").read_text(encoding="utf-8")
    assert "jinku-power-settings.service" in agent
    assert not re.search(r"restart[^&]*nut-monitor", agent + handler)


@pytest.mark.parametrize("says", ["OL", "OB", "OB LB"])
def test_new_accounts_are_read_without_a_restart(program: Program, tmp_path: Path, says: str) -> None:
    """At once, also on battery: the hosts log in with the new one now. One that starts reads them anyway."""
    assert program("accounts", says).returncode == 0
    assert (tmp_path / "done").read_text() == "reload nut-server.service\n"
    assert program("accounts", says, active=False).returncode == 0
    assert not (tmp_path / "done").exists()


def test_the_agent_of_the_room_restarts_no_upsd() -> None:
    """What it runs when a file has changed: upsd reads its accounts again, and no more."""
    text = (CHECKOUT / "roles/room/templates/etc/jinku/agent.d/room.hcl.j2").read_text(encoding="utf-8")
    accounts = text[text.index("kv/power") :]
    assert re.findall(r"command = (.*)", accounts) == ['["/usr/local/libexec/jinku-ups", "accounts"]']


#: Stands for whoever runs as nut while root prepares the folder: lays a link as soon as it is theirs.
NUT = """#!/bin/sh
/usr/bin/{tool} "$@"
for folder in {run}/heard {run}/heard.new; do
    if test "$(/usr/bin/stat -c %U "$folder" 2>/dev/null)" = nobody; then
        /usr/bin/ln -sf {victim} "$folder/ups.prom"
    fi
done
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_root_writes_nothing_into_a_folder_that_it_gave_away(tmp_path: Path) -> None:
    run, tools, victim = tmp_path / "run", tmp_path / "bin", tmp_path / "victim"
    run.mkdir()
    tools.mkdir()
    victim.write_text("of root\n")
    (tmp_path / "upsmon.conf").write_text('    MONITOR ups-a@192.0.2.1 1 "host" "x" secondary\n')
    (tmp_path / "authority.pem").write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    for tool in ("install", "chown", "mv", "chmod", "rm"):
        (tools / tool).write_text(NUT.format(tool=tool, run=run, victim=victim))
    (tools / "certutil").write_text('#!/bin/sh\ntest "$1" != -N || touch "$3/cert9.db" "$3/pkcs11.txt"\n')
    (tools / "jinku-await").write_text('#!/bin/sh\ntest -s "$1"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    text = (CHECKOUT / "hardening/power/files/usr/local/libexec/jinku-power-trust").read_text(encoding="utf-8")
    for place, there in (
        ("/run/jinku-power", run),
        ("/etc/jinku/power", tmp_path),
        ("/usr/local/libexec", tools),
        ("nut:nut", "nobody:nogroup"),
        ("-g nut", "-g nogroup"),
        ("chgrp nut", "chgrp nogroup"),
    ):
        text = text.replace(place, str(there))
    program = tmp_path / "jinku-power-trust"
    program.write_text(text, encoding="utf-8")
    for _ in range(2):  # the second finds the folder of the first, and the link in it
        done = subprocess.run(
            ["sh", program],
            env={"PATH": f"{tools}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            umask=0o027,
            timeout=20,
        )
        assert done.returncode == 0, done.stderr
        assert victim.read_text() == "of root\n"
        assert victim.stat().st_uid == 0
        assert (run / "heard").stat().st_uid != 0
        assert stat.S_IMODE((run / "heard").stat().st_mode) == 0o755
    # without anybody who interferes: the number is there, and belongs to nut, who replaces it
    for tool in ("install", "chown", "mv", "chmod", "rm"):
        (tools / tool).unlink()
    subprocess.run(["sh", program], env={"PATH": f"{tools}:/usr/bin:/bin"}, check=True, umask=0o027, timeout=20)
    number = run / "heard/ups.prom"
    assert number.read_text() == "jinku_ups_heard 1\n"
    assert stat.S_IMODE(number.stat().st_mode) == 0o644
    assert number.stat().st_uid == (run / "heard").stat().st_uid != 0


@pytest.mark.parametrize(("said", "heard"), [("COMMBAD", 0), ("NOCOMM", 0), ("COMMOK", 1)])
def test_what_upsmon_says_of_its_ups_can_be_read_by_the_exporter(tmp_path, said, heard):
    """Under the unit's own umask: a number that nobody can read is an alarm that never comes."""
    shipped = CHECKOUT / "hardening/power/files/usr/local/libexec/jinku-power-heard"
    program = tmp_path / "jinku-power-heard"
    program.write_text(
        shipped.read_text(encoding="utf-8").replace("/run/jinku-power/heard", str(tmp_path)), encoding="utf-8"
    )
    subprocess.run(
        ["sh", program], env={"PATH": "/usr/bin:/bin", "NOTIFYTYPE": said}, check=True, umask=0o027, timeout=20
    )
    number = tmp_path / "ups.prom"
    assert number.read_text() == f"jinku_ups_heard {heard}\n"
    assert stat.S_IMODE(number.stat().st_mode) == 0o644


def test_settings_without_an_account_are_named(tmp_path: Path) -> None:
    """What the agent left out (a sign that would end a word) is said where a person looks: in the journal."""
    (tmp_path / "upsmon.conf").write_text("    RUN_AS_USER nut\n    # kv/power/host: user or password holds a sign\n")
    (tmp_path / "jinku-await").write_text("#!/bin/sh\n")
    (tmp_path / "jinku-await").chmod(0o755)
    text = (CHECKOUT / "hardening/power/files/usr/local/libexec/jinku-power-trust").read_text(encoding="utf-8")
    for place in ("/etc/jinku/power", "/usr/local/libexec", "/run/jinku-power"):
        text = text.replace(place, str(tmp_path))
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "upsmon.conf: kv/power/host: user or password holds a sign\n"


@pytest.mark.parametrize(("written", "code"), [("x", 0), ("", 1)])
def test_a_service_waits_for_what_the_agent_writes(tmp_path: Path, written: str, code: int) -> None:
    (tmp_path / "file").write_text(written)
    text = (CHECKOUT / "roles/enrol/files/usr/local/libexec/jinku-await").read_text(encoding="utf-8")
    text = text.replace("seq 60", "seq 2").replace("sleep 1", "sleep 0.01")
    done = subprocess.run(["sh", "-c", text, "x", tmp_path / "file"], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert ("file: the agent has not written it" in done.stderr) == bool(code)
