# SPDX-License-Identifier: Apache-2.0
"""A whole environment, one host of which is a machine with a kernel of its own and two empty disks: by QEMU, in software some ten minutes more."""

import json
import secrets
import subprocess
import sys
import time

import pytest
from bare_hosts import MACHINE

from jinku.places import CHECKOUT

pytestmark = pytest.mark.existing_vm


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
