# SPDX-License-Identifier: Apache-2.0
"""A whole environment on bare hosts, behind a router that knows the request sheet only: the lab's roles, checks and verdicts."""

import json
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.existing_up

#: What no check can look at, and says so: the routers are the network team's.
SUBSTRATE = ("is not managed by Jinku",)
#: True of this environment, which has nobody to tell: a finding, and rightly so.
NOBODY_TO_TELL = "environment.yaml names no way for alarms"


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
    found = up.checked()
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
        verdict, reason = up.checked()["dengbao:8.1.3.2.c", "network:crm1"]
        assert verdict in ("nonconform", "partial"), pairs
        assert "crm1 does not reach db1" in reason
        assert "5432" in reason
    finally:
        up.guard()


def test_doctor_finds_nothing_missing_on_hosts_that_are_up(up):
    """By the automation account, through the bastion, past the filters that now stand."""
    assert up.doctor() == {}


def test_destroy_deletes_nothing_on_the_hosts_and_says_what_it_leaves(up):
    done = up.jinku("destroy", "--yes")
    assert done.returncode == 0, done.stderr
    assert "kept: db1 (10.84.0.21): runs on, hardened, with postgres; data in /var/lib/postgresql" in done.stdout
    for name in up.centre.hosts.keys() - up.centre.machines:
        assert up.centre.inside(name, "systemctl is-active ssh").strip() == "active"
    assert "17" in up.centre.inside("db1", "ls /var/lib/postgresql")
    assert up.doctor() == {}, "the way in is found again, by the account that stays"
