# SPDX-License-Identifier: Apache-2.0
"""A whole environment on bare hosts, behind a router that knows the request sheet only: the lab's roles, checks and verdicts."""

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bare_hosts import MACHINE

from jinku.cli.exit_codes import ExitCode
from jinku.existing import host_keys
from jinku.places import CHECKOUT

pytestmark = pytest.mark.existing_up

#: What no check can look at, and says so: the routers are the network team's.
SUBSTRATE = ("is not managed by Jinku",)
#: True of this environment, which has nobody to tell: a finding, and rightly so.
NOBODY_TO_TELL = "environment.yaml names no way for alarms"


def checked(bare):
    """The newest check: (item, object) -> (verdict, reason)."""
    newest = max(bare.places.reports.glob("*/check.json"), key=lambda path: path.parent.name)
    document = json.loads(newest.read_text())
    return {(one["item"], one["object"]): (one["verdict"], one["reason"]["text"]) for one in document["verdicts"]}


@pytest.fixture(scope="session")
def up(bare):
    """The environment up, the owner's account gone."""
    for name in bare.centre.hosts:
        bare.choices["addresses"].setdefault(name, {})["fingerprint"] = host_keys.fingerprint(
            bare.centre.host_key(name)
        )
    bare.write()
    done = bare.jinku("up")
    print(done.stdout[-3000:])
    assert done.returncode in (ExitCode.OK, ExitCode.NOT_CONFORM, ExitCode.INCOMPLETE), done.stderr
    found = checked(bare)
    assert found["dengbao:8.1.4.2.c", "host:db1"][0] != "conform", (
        "the owner's account, which nobody declared, is a finding"
    )
    retired = bare.jinku("contact", "--retire")
    assert retired.returncode == 0, retired.stderr
    again = bare.jinku("up")
    assert again.returncode in (ExitCode.OK, ExitCode.NOT_CONFORM, ExitCode.INCOMPLETE), again.stderr
    return bare


def test_all_hosts_are_healthy_and_the_owner_is_gone(up):
    done = up.jinku("status")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in up.centre.hosts:
        assert not up.inside(name, "getent passwd deploy || true")
        assert up.inside(name, "ls -d /home/deploy.left-*").strip()


def test_another_contact_and_another_up_change_nothing(up):
    contact = up.jinku("contact")
    assert (contact.returncode, contact.stdout) == (0, ""), contact.stderr
    done = up.jinku("up")
    assert "nothing changed: changed=0 on every host" in done.stdout, done.stdout[-3000:]


def test_what_is_not_conform_is_so_because_of_the_substrate(up):
    """Every judgement that a test made is the lab's: no finding beyond the lab's own, and silence has a named reason."""
    found = checked(up)
    worse = {key: said for key, said in found.items() if said[0] in ("nonconform", "partial")}
    assert any(NOBODY_TO_TELL in reason for _, reason in worse.values())
    assert not {key: said for key, said in worse.items() if NOBODY_TO_TELL not in said[1]}
    errors = {key: said for key, said in found.items() if said[0] == "not_tested" and "Error" in said[1]}
    assert not errors
    lab = os.environ.get("JINKU_LAB_CHECK")  # a check.json of the lab, to compare with
    if lab:
        told = json.loads(Path(lab).read_text())["verdicts"]
        there = {(one["item"], one["object"]): one["verdict"] for one in told}
        differ = {key: said for key, said in found.items() if key in there and there[key] != said[0]}
        unexplained = {key: said for key, said in differ.items() if not any(why in said[1] for why in SUBSTRATE)}
        print(
            f"{len(found)} verdicts, {len(differ)} differ from the lab's, all of them about the routers, which are not Jinku's"
        )
        assert not unexplained


def test_a_flow_that_the_network_team_forgot_is_a_finding(up):
    """The all-pairs test through a firewall that Jinku does not manage: one row less in its rules, one finding."""
    pairs = "test_every_pair_of_nodes_agrees_with_the_flows"
    up.guard(without="crm>postgres")
    try:
        up.jinku("check", timeout=600)
        verdict, reason = checked(up)["dengbao:8.1.3.2.c", "network:crm1"]
        assert verdict in ("nonconform", "partial"), pairs
        assert "crm1 does not reach db1" in reason
        assert "5432" in reason
    finally:
        up.guard()


def test_doctor_finds_nothing_missing_on_hosts_that_are_up(up):
    """By the automation account, through the bastion, past the filters that now stand."""
    assert up.doctor() == {}


def volumes(up):
    """What the machine's own program says of its volumes, by name."""
    return {one["name"]: one for one in json.loads(up.inside(MACHINE, "jinku-volumes state"))}


def until_healthy(up, seconds=900):
    """Return when `jinku status` finds nothing wrong."""
    deadline = time.monotonic() + seconds
    while (done := up.jinku("status")).returncode:
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(5)


def test_empty_disks_of_a_machine_are_encrypted_as_a_whole_and_hold_nothing_in_the_clear(up):
    canary = f"a-customer-whom-nobody-may-read-{secrets.token_hex(8)}"
    for name, told in volumes(up).items():
        assert (told["encryption"], told["open"], told["key"]) == ("luks2", True, "vault:transit"), name
    seals = next(one for one in up.topology.node(MACHINE).volumes if one.name == "aud2-seals")
    up.inside(MACHINE, f"echo {canary} | tee {seals.mount}/drill /root/drill; sync")
    search = [sys.executable, str(CHECKOUT / "compliance_tests/asked/raw_search.py")]

    def clear(disk):
        done = subprocess.run([*search, up.centre.raw(MACHINE, disk), canary], capture_output=True, check=True)
        return int(done.stdout.split()[0])

    assert clear("root") > 0, "the search finds what lies there in the clear"
    assert clear("aud2-seals") == 0
    up.inside(MACHINE, f"rm {seals.mount}/drill /root/drill")


def test_a_machine_whose_power_was_cut_opens_its_disks_by_itself_and_works_on(up):
    before = up.inside(MACHINE, "cat /proc/sys/kernel/random/boot_id")
    up.centre.stop(MACHINE)
    assert up.jinku("status").returncode != 0, "a host that is off is told"
    up.centre.start(MACHINE)
    until_healthy(up)
    assert up.inside(MACHINE, "cat /proc/sys/kernel/random/boot_id") != before
    assert all(told["open"] for told in volumes(up).values())


def test_an_update_restarts_a_machine_where_the_environment_says_so(up):
    before = up.inside(MACHINE, "cat /proc/sys/kernel/random/boot_id")
    up.inside(MACHINE, "touch /run/reboot-required")
    up.write(updates={"reboot": True})
    try:
        done = up.jinku("update", "--node", MACHINE)
        print(done.stdout[-2000:])
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        up.write()
    assert up.inside(MACHINE, "cat /proc/sys/kernel/random/boot_id") != before
    assert up.jinku("status").returncode == 0


def test_destroy_deletes_nothing_on_the_hosts_and_says_what_it_leaves(up):
    done = up.jinku("destroy", "--yes")
    assert done.returncode == 0, done.stderr
    assert "kept: db1 (10.84.0.21): runs on, hardened, with postgres; data in /var/lib/postgresql" in done.stdout
    for name in up.centre.hosts.keys() - up.centre.machines:
        assert up.centre.inside(name, "systemctl is-active ssh").strip() == "active"
    assert "17" in up.centre.inside("db1", "ls /var/lib/postgresql")
    assert up.doctor() == {}, "the way in is found again, by the account that stays"
