# SPDX-License-Identifier: Apache-2.0
"""Hosts that cannot be taken are refused before anything is touched, each with its reason; then the first contact.

Real hosts, each with the real lack. They run in the order in which they stand: before the contact, the contact, after it.
"""

import subprocess
from contextlib import contextmanager

import pytest
from bare_hosts import SWITCH, image

from jinku.cli.exit_codes import ExitCode
from jinku.existing import host_keys

pytestmark = pytest.mark.existing


def test_a_host_whose_key_nobody_has_confirmed_is_not_entered(bare):
    missing = bare.doctor()
    told = missing["ops1", "host key"]
    assert host_keys.fingerprint(bare.centre.host_key("ops1")) in told["text"]
    assert "`jinku contact`" in told["remedy"]
    assert missing["db1", "bastion"]["text"] == "is reached through ops1, to which there is no way yet"
    assert bare.jinku("up").returncode == ExitCode.PREREQUISITE
    done = bare.jinku("contact", said="no\n")
    assert done.returncode == ExitCode.PREREQUISITE
    assert not [line for line in (bare.folder / "known_hosts").read_text().splitlines() if not line.startswith("#")]
    bare.untouched()


def test_a_fingerprint_that_was_given_must_be_the_one_that_is_offered(bare):
    wrong = {"ops1": {"fingerprint": "SHA256:" + "A" * 43}}
    bare.write(addresses={**bare.choices["addresses"], **wrong})
    assert "but addresses.ops1.fingerprint says" in bare.doctor()["ops1", "host key"]["text"]
    # The right ones from now on, as whoever installed the hosts reads them at the console.
    for name in bare.centre.hosts:
        known = host_keys.fingerprint(bare.centre.host_key(name))
        bare.choices["addresses"].setdefault(name, {})["fingerprint"] = known
    bare.write()
    assert bare.doctor() == {}


LACKS = {
    # (host, what doctor calls it, what it says): how the owner came to it, and how it is mended
    ("crm1", "sudo", "asks for a password, or refuses"): (
        "mv /etc/sudoers.d/deploy /root",
        "mv /root/deploy /etc/sudoers.d",
    ),
    ("edge1", "disk", "GiB free on /, 4 are needed"): ("fallocate -l 37G /root/full", "rm /root/full"),
    ("db1", "other firewall", "nft table inet owner"): (
        "nft 'table inet owner { chain in { type filter hook input priority 0; }; }'",
        "nft delete table inet owner",
    ),
    ("sec1", "python3", "is not installed"): ("mv /usr/bin/python3 /root", "mv /root/python3 /usr/bin"),
    ("aud1", "clock", "s off this machine's"): (
        'printf \'#!/bin/sh\\nexec /usr/bin/date --date="-2 hours" "$@"\\n\' >/usr/local/bin/date; chmod 755 /usr/local/bin/date',
        "rm /usr/local/bin/date",
    ),
    ("crm1", "volume crm1-attachments", "nothing is mounted at /var/lib/tryton"): (
        "umount /var/lib/tryton",
        None,
    ),
    ("aud1", "volume aud1-logs", "/dev/vdb holds ext4, which Jinku has not made"): (
        "mkfs.ext4 -q -L customers /dev/vdb",
        "wipefs -aqf /dev/vdb; dd if=/dev/zero of=/dev/vdb bs=4k count=256 conv=notrunc status=none",
    ),
    ("edge1", "host key", "has changed"): None,
    ("db1", "reachable", ""): None,
    ("crm1", "package mirror", ""): None,
}


KEY = "/etc/ssh/ssh_host_ed25519_key"
COMMANDS = {
    **LACKS,
    ("edge1", "host key", "has changed"): (
        f"mv {KEY} {KEY}.own; ssh-keygen -qt ed25519 -N '' -f {KEY}; systemctl restart ssh",
        f"mv {KEY}.own {KEY}; ssh-keygen -yf {KEY} >{KEY}.pub; systemctl restart ssh",
    ),
}


@contextmanager
def lacking(bare, name, what, text):
    """Bring a host into a state in which it cannot be taken, and mend it again."""
    wrong, mended = COMMANDS.get((name, what, text)) or (None, None)
    if wrong:
        bare.centre.inside(name, wrong)
    elif what == "reachable":
        subprocess.run(["ip", "-n", SWITCH, "link", "set", f"h.{name}", "down"], check=True)
    else:
        bare.guard(without="hosts>mirror")
    try:
        yield
    finally:
        if mended:
            bare.centre.inside(name, mended)
        elif what == "reachable":
            subprocess.run(["ip", "-n", SWITCH, "link", "set", f"h.{name}", "up"], check=True)
        elif wrong:
            bare.centre.stop(name)
            bare.centre.start(name)
            bare.centre.wait(name)
        else:
            bare.guard()


@pytest.mark.parametrize("lack", LACKS, ids=lambda lack: f"{lack[0]}-{lack[1].replace(' ', '_')}")
def test_a_host_that_lacks_something_is_refused_before_anything_is_touched(bare, lack):
    name, what, text = lack
    with lacking(bare, *lack):
        missing = bare.doctor()
        assert text in missing[name, what]["text"], missing
        assert missing[name, what]["remedy"]
        refused = bare.jinku("up")
        assert refused.returncode == ExitCode.PREREQUISITE
        assert f"{name}: {what}: " in refused.stderr
        bare.untouched()


def test_another_release_and_another_architecture_are_refused(bare, old_image):
    """A real Debian 12 of the architecture i386."""
    bare.centre.remove("aud2")
    bare.centre.make("aud2", old_image)
    bare.centre.wait("aud2")
    bare.choices["addresses"]["aud2"]["fingerprint"] = host_keys.fingerprint(bare.centre.host_key("aud2"))
    bare.write()
    missing = bare.doctor()
    assert missing["aud2", "release"]["text"] == "debian 12"
    assert missing["aud2", "architecture"]["text"] == "i386"
    assert bare.jinku("up").returncode == ExitCode.PREREQUISITE
    bare.untouched()
    bare.centre.remove("aud2")
    bare.centre.make("aud2", image())
    bare.centre.wait("aud2")
    bare.choices["addresses"]["aud2"]["fingerprint"] = host_keys.fingerprint(bare.centre.host_key("aud2"))
    bare.write()


def test_an_account_that_gives_no_login_is_taken_back(bare):
    """The way back of the first contact: what it made and cannot use, it removes."""
    bare.centre.inside("aud2", "echo 'AllowUsers deploy' >/etc/ssh/sshd_config.d/owner.conf; systemctl reload ssh")
    try:
        done = bare.jinku("contact")
        assert done.returncode == ExitCode.PREREQUISITE
        assert "aud2: the new account automation gives no login" in done.stderr
        assert not bare.centre.inside("aud2", "getent passwd automation; ls /etc/sudoers.d/90-automation", check=False)
        assert "db1: account automation: made" in done.stdout
    finally:
        bare.centre.inside("aud2", "rm /etc/ssh/sshd_config.d/owner.conf; systemctl reload ssh")


def test_an_account_of_that_name_that_is_somebody_elses_is_left_alone(bare):
    bare.centre.inside("aud2", "useradd --create-home --comment 'Robot of the owner' automation")
    try:
        done = bare.jinku("contact")
        assert "aud2: deploy: account automation: is there and is not Jinku's" in done.stderr
        assert "Robot of the owner" in bare.centre.inside("aud2", "getent passwd automation")
    finally:
        bare.centre.inside("aud2", "userdel --remove automation", check=False)


def test_the_first_contact_leaves_an_account_and_the_disk_and_the_owner_in(bare):
    done = bare.jinku("contact")
    assert done.returncode == 0, done.stderr
    assert bare.jinku("contact").stdout == "", "the second contact has nothing to do"
    assert bare.doctor() == {}
    for name in bare.centre.hosts:
        assert "NOPASSWD" in bare.centre.inside(name, "cat /etc/sudoers.d/90-automation")
        assert bare.centre.inside(name, "cat /etc/sudoers.d/deploy"), "the owner keeps his own way in"
    assert "ext4" in bare.centre.inside("aud1", "findmnt --noheadings --output FSTYPE --mountpoint /var/log/remote")
    known = host_keys.read(bare.folder, bare.topology)
    assert known == {name: bare.centre.host_key(name) for name in bare.centre.hosts}
