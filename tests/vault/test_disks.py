# SPDX-License-Identifier: Apache-2.0
"""Disks that are LUKS2 as a whole, on a machine with a kernel of its own, at a real vault: `pytest tests/vault/test_disks.py -m vm`.

They run in the order in which they stand: one machine, whose starts take a minute or two where QEMU emulates the processor.
"""

import base64
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from vault_world import ROLES, World
from virtual_machine import Machine, own_kernel
from volume_machine import (
    DISK,
    NAME,
    OTHER,
    PLACE,
    SPARE,
    SPARE_PLACE,
    enrol,
    holds,
    judge_of,
    opens,
    said,
    spare,
    volumes_role,
)

from jinku.escrow import ensure_escrow
from jinku.places import CHECKOUT, Places

pytestmark = [pytest.mark.openbao, pytest.mark.vm]

CANARY = f"a-customer-whom-nobody-may-read-{secrets.token_hex(8)}"


@pytest.fixture(scope="module")
def vm(ready: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The machine crm1, enrolled, with two empty disks; of Jinku it has the way to the vault only."""
    if lack := own_kernel.missing():
        pytest.skip(lack)
    begun = time.monotonic()
    machine = Machine(tmp_path_factory.mktemp("vm"), "crm1", {NAME: 128, "spare": 64})
    try:
        machine.start()
        print(f"up after {time.monotonic() - begun:.0f} s")
        machine.put(
            "/usr/local/sbin/jinku-enrol", (ROLES / "enrol/files/usr/local/sbin/jinku-enrol").read_text(), "0755"
        )
        enrol(machine, ready, "crm1", "/etc/jinku")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JINKU_STATE_DIR", str(ready.folder / "state"))  # the escrow's
            yield machine
    finally:
        machine.cut()


def test_the_first_contact_leaves_an_empty_disk_alone_and_the_look_says_what_it_will_be(vm: Machine) -> None:
    existing = CHECKOUT / "jinku/existing"
    told = vm.do(
        f"sh -s -- do automation 'ssh-ed25519 AAAA' '{NAME} {PLACE} {DISK} yes'", (existing / "adopt.sh").read_text()
    )
    assert "is mounted" not in told
    assert not vm.raw(NAME).read_bytes().strip(b"\0")
    facts = vm.do(
        f"sh -s -- 10.0.2.15 http://10.0.2.2:1 '' '{NAME} {PLACE} {DISK}'", (existing / "look.sh").read_text()
    )
    assert "dmcrypt\tyes" in facts
    assert f"volume\t{NAME} empty {128 * 2**20}" in facts


def test_the_role_encrypts_the_disk_and_a_second_run_changes_nothing(vm: Machine) -> None:
    first = volumes_role(vm)
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"volume {NAME}: encrypted" in first.stdout
    told = said(vm)
    assert (told["encryption"], told["open"], told["key"], told["escrow"]) == ("luks2", True, "vault:transit", True)
    again = volumes_role(vm)
    assert "changed=0" in again.stdout, again.stdout
    checked = volumes_role(vm, "--check")
    assert "changed=0" in checked.stdout, checked.stdout


def test_what_is_written_is_not_on_the_disk_while_the_search_finds_what_lies_there_in_the_clear(vm: Machine) -> None:
    vm.do(f"for i in $(seq 300); do echo {CANARY}; done > {PLACE}/{CANARY}")
    assert not holds(vm, NAME, CANARY)
    assert holds(vm, NAME, "jinku/volume/1")  # the token in the header
    vm.do(f"echo {CANARY} > /root/plain")
    assert holds(vm, "root", CANARY)


def test_neither_key_nor_what_it_wraps_is_in_an_argument_or_a_file(vm: Machine) -> None:
    """Asked while it opens: a cryptsetup that only tells how it was called, and what lies in /run."""
    spy = '#!/bin/sh\ntr "\\0" " " </proc/$$/cmdline >>/run/called; echo >>/run/called\nexec /usr/sbin/cryptsetup.real "$@"\n'
    vm.do("systemctl stop jinku-volumes; mv /usr/sbin/cryptsetup /usr/sbin/cryptsetup.real")
    try:
        vm.put("/usr/sbin/cryptsetup", spy, "0755")
        vm.do("jinku-volumes open")
        called = vm.do("cat /run/called")
    finally:
        vm.do("mv /usr/sbin/cryptsetup.real /usr/sbin/cryptsetup")
    assert "--key-file -" in called
    left = vm.do("find /run/jinku/volumes -xdev -type f").split()
    assert [Path(name).name for name in left] == ["escrow.pem"]  # a certificate
    vm.do("systemctl start jinku-volumes")


@pytest.fixture(scope="module")
def judged(vm: Machine, request: pytest.FixtureRequest) -> Any:
    """``judged()``: the two control tests of volumes say nothing, or raise what they found."""
    for mark in ("control", "objects", "setting", "behaviour"):  # jinku.evidence.plugin knows them, where it runs
        request.config.addinivalue_line("markers", f"{mark}: of a control test")
    return judge_of(vm)


@pytest.mark.parametrize("which", ["setting", "behaviour"])
def test_the_control_tests_judge_such_a_disk_and_find_what_takes_in_the_clear(
    judged: Any, vm: Machine, which: str
) -> None:
    judged(which)
    breaks = f"truncate -s 8M /root/clear && mkfs.ext4 -qF /root/clear && mount -o loop /root/clear {PLACE}"
    vm.do(breaks)
    try:
        with pytest.raises(AssertionError):
            judged(which)
    finally:
        vm.do(f"umount {PLACE}; rm /root/clear")
    judged(which)


def test_the_search_below_the_mapping_finds_a_disk_that_only_looks_encrypted(vm: Machine) -> None:
    """The sabotage of the search itself: the same disk, mapped with a cipher that changes nothing."""
    vm.do(f"systemctl stop jinku-volumes; umount {PLACE} 2>/dev/null; true")
    size = int(vm.do(f"blockdev --getsz {SPARE}"))
    number = vm.do(f"stat -L -c '%Hr:%Lr' {SPARE}").strip()
    name = f"jinku-{NAME}"
    script = (CHECKOUT / "compliance_tests/asked/disk_search.py").read_text()
    crypt = f"0 {size - 32768} crypt cipher_null-ecb - 0 {number} 32768"
    vm.do(
        f"modprobe crypto_null 2>/dev/null; echo '{crypt}' | dmsetup create {name} && mkfs.ext4 -qF /dev/mapper/{name}"
    )
    try:
        vm.do(f"mkdir -p /mnt/null && mount /dev/mapper/{name} /mnt/null && echo {CANARY} > /mnt/null/file")
        clear, known, looked = map(int, vm.do(f"python3 - /mnt/null/file {CANARY}", script).split())
        assert (clear, known) == (1, 1), looked
        assert "is not" in vm.run("jinku-volumes open").stderr
    finally:
        vm.do(f"umount /mnt/null; dmsetup remove {name}; wipefs -aqf {SPARE}; blkdiscard -f -z {SPARE}")
    vm.do("systemctl start jinku-volumes")


def test_while_it_is_shut_nothing_is_read_and_nothing_written(vm: Machine) -> None:
    vm.do("systemctl stop jinku-volumes")
    assert not said(vm)["open"]
    assert vm.do(f"ls -A {PLACE}; ls /dev/mapper") == "control\n"
    assert "Operation not permitted" in vm.run(f"touch {PLACE}/new").stderr
    vm.do("systemctl start jinku-volumes")
    assert CANARY in vm.do(f"head -1 {PLACE}/{CANARY}")


def test_after_its_power_was_cut_the_machine_opens_it_by_itself(vm: Machine) -> None:
    vm.do("sync")
    vm.cut()
    vm.start()
    assert opens(vm), vm.do("journalctl -u jinku-volumes | tail -20")
    assert CANARY in vm.do(f"head -1 {PLACE}/{CANARY}")


def test_without_the_vault_it_stays_shut_and_opens_when_the_vault_is_back(vm: Machine, ready: World) -> None:
    ready.stop()
    try:
        vm.off()
        vm.start()
        assert not opens(vm, within=20)
        assert "the vault gives no key" in vm.do("journalctl -b -u jinku-volumes -o cat")
        assert not said(vm)["open"]
        assert vm.do(f"ls -A {PLACE}") == ""
    finally:
        ready.start()
        ready.door.wait_until_active(60)
    assert opens(vm), vm.do("journalctl -u jinku-volumes | tail -20")
    assert CANARY in vm.do(f"head -1 {PLACE}/{CANARY}")


def test_another_host_s_identity_does_not_unwrap_its_key(vm: Machine, ready: World) -> None:
    vm.do("systemctl stop jinku-volumes")
    enrol(vm, ready, "room1", "/etc/jinku-other")
    one = {"name": NAME, "mount": PLACE, "device": DISK, "format": True}
    for claimed, refusal in {"room1": "400", "crm1": "auth/hosts/login"}.items():
        told = {"host": claimed, "engine": "volumes", "source": "vault", "volumes": [one]}
        vm.put("/etc/jinku-other/volumes.json", json.dumps(told))
        done = vm.run(f"{OTHER} open")
        assert done.returncode == 1
        assert refusal in done.stderr, done.stderr
        assert vm.do("ls /dev/mapper") == "control\n"
    vm.do("systemctl start jinku-volumes")


def test_the_escrow_opens_what_the_vault_has_lost(vm: Machine) -> None:
    vm.do("systemctl stop jinku-volumes")
    read = f"cryptsetup luksDump --dump-json-metadata {DISK}"
    (token,) = json.loads(vm.do(read))["tokens"].values()
    lost = json.dumps({**token, "key": "vault:v1:" + base64.b64encode(os.urandom(60)).decode()})
    vm.do(f"cryptsetup token import --token-replace --token-id 0 --json-file - {DISK}", lost)
    assert "400" in vm.run("jinku-volumes open").stderr
    wrong = base64.b64encode(os.urandom(32)).decode()
    assert "the key from its escrow" in vm.run(f"jinku-volumes adopt {NAME}", wrong).stderr
    key = ensure_escrow(Places("test")).open(token["escrow"])
    vm.do(f"jinku-volumes adopt {NAME}", base64.b64encode(key).decode())
    vm.do("systemctl start jinku-volumes")
    assert CANARY in vm.do(f"head -1 {PLACE}/{CANARY}")


# -- disks that are not taken, and the vault's own volume, on the spare disk


FOREIGN = {
    "holds ext4": f"mkfs.ext4 -qF {SPARE}",
    "holds crypto_LUKS": f"echo theirs | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 {SPARE} -",
    "holds crypto_LUKS, which Jinku": f"cryptsetup luksHeaderBackup --header-backup-file /root/h {DISK} && cryptsetup luksHeaderRestore -q --header-backup-file /root/h {SPARE}; rm /root/h",
    "holds dos": f"echo ',,L' | sfdisk -q {SPARE} && blockdev --rereadpt {SPARE}",
    "holds something": f"echo words of theirs | dd of={SPARE} bs=4k seek=100 conv=fsync status=none",
    "is in use": f"mkfs.ext4 -qF {SPARE} && mount {SPARE} /mnt",
    "may not be formatted": "true",
    f"{SPARE_PLACE} holds something": f"mkdir -p {SPARE_PLACE} && touch {SPARE_PLACE}/theirs",
}


@pytest.mark.parametrize("refusal", FOREIGN)
def test_a_disk_that_is_not_jinku_s_to_take_is_refused_and_not_touched(vm: Machine, refusal: str) -> None:
    spare(vm, may_format=refusal != "may not be formatted")
    vm.do(f"{FOREIGN[refusal]}; sync; blockdev --flushbufs {SPARE}")
    before = vm.raw("spare").read_bytes()
    try:
        for verb in ("make --check", "make"):
            told = json.loads(vm.do(f"{OTHER} {verb}", "no certificate"))
            assert refusal in told["refused"]["spare"]
            assert told["changes"] == []
        assert vm.run(f"{OTHER} open").returncode == 1
        vm.do("sync")
        if refusal != "is in use":  # its owner's file system writes itself
            assert vm.raw("spare").read_bytes() == before
    finally:
        vm.do(
            f"umount /mnt 2>/dev/null; rm -rf {SPARE_PLACE}; wipefs -aqf {SPARE}; blkdiscard -f -z {SPARE}; blockdev --rereadpt {SPARE}"
        )


def test_a_run_that_was_killed_is_finished_by_the_next(vm: Machine) -> None:
    spare(vm)
    certificate = ensure_escrow(Places("test")).certificate_path.read_text()
    vm.do(
        "mkdir /root/bin && printf '#!/bin/sh\\nkill -9 $PPID\\n' > /root/bin/mkfs.ext4 && chmod 755 /root/bin/mkfs.ext4"
    )
    assert vm.run(f"PATH=/root/bin:$PATH {OTHER} make", certificate).returncode != 0
    assert "is being encrypted" in vm.run(f"{OTHER} open").stderr
    told = json.loads(vm.do(f"{OTHER} make", certificate))
    assert (told["changes"], told["refused"]) == (["volume spare: encrypted"], {})
    vm.do(f"{OTHER} open && echo {CANARY} > {SPARE_PLACE}/file && rm -r /root/bin")


def test_the_vault_s_own_disk_takes_its_key_from_the_machine_and_without_it_from_the_escrow(vm: Machine) -> None:
    (told,) = json.loads(vm.do(f"{OTHER} state"))
    assert (told["key"], told["open"], told["encryption"]) == ("systemd-creds:host", True, "luks2")
    vm.do(f"{OTHER} shut && rm -r /etc/jinku-other/volumes")
    assert "brings the key from the escrow" in vm.run(f"{OTHER} open").stderr
    sealed = json.loads(vm.do(f"{OTHER} make", "unused"))["escrow"]["spare"]
    key = base64.b64encode(ensure_escrow(Places("test")).open(sealed)).decode()
    vm.do(f"{OTHER} adopt spare", key)
    vm.do(f"{OTHER} open")
    assert CANARY in vm.do(f"cat {SPARE_PLACE}/file")
    vm.do(f"{OTHER} shut; chattr -i {SPARE_PLACE}; rmdir {SPARE_PLACE}; blkdiscard -f -z {SPARE}")


def test_a_disk_with_a_file_system_of_before_stays_as_it_is(vm: Machine) -> None:
    """What Jinku made ext4 with fscrypt, before it knew LUKS2."""
    spare(vm)
    certificate = ensure_escrow(Places("test")).certificate_path.read_text()
    vm.do(f"mkfs.ext4 -qF -O encrypt -L spare {SPARE} && mkdir -p {SPARE_PLACE} && mount {SPARE} {SPARE_PLACE}")
    told = json.loads(vm.do(f"{OTHER} make", certificate))
    assert told["changes"] == ["volume spare: encrypted"]
    vm.do(f"{OTHER} open && echo {CANARY} > {SPARE_PLACE}/file")
    (state_of,) = json.loads(vm.do(f"{OTHER} state"))
    assert (state_of["encryption"], state_of["open"]) == ("fscrypt", True)
    assert json.loads(vm.do(f"{OTHER} make", certificate))["changes"] == []
    assert vm.do(f"blkid -p -s TYPE -o value {SPARE}") == "ext4\n"
    vm.do(f"{OTHER} shut; umount -R {SPARE_PLACE}; umount /run/jinku-other/volumes/spare")
    assert "is not mounted" in json.loads(vm.do(f"{OTHER} make", certificate))["refused"]["spare"]
    assert holds(vm, "spare", "jinku/volume/1")
