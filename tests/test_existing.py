# SPDX-License-Identifier: Apache-2.0
"""Hosts that exist, without any: what is said of what a host answered, whose key is believed, which disk is taken.

On real hosts: tests/existing.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from wrong_values import every_wrong_value_is_told_in_our_words

from jinku import ssh_access
from jinku.doctor import Level
from jinku.existing import contact, findings, host_keys, ways
from jinku.existing.ways import Answer, Trouble
from jinku.model import InputError, Topology, load_environment
from jinku.places import CHECKOUT, Places

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKxiqn6nUdMwOAF7rKMLs8uUoDoVkjSoSV5Upx1VGdVf"
GOOD = {
    "clock": "1000",
    "release": "debian 13",
    "architecture": "arm64",
    "init": "systemd",
    "sudo": "yes",
    "python": "3.13",
    "disk": str(20 * 2**20),
    "memory": str(4 * 2**20),
    "interface": "ens3",
    "links": "ens3",
    "mirror": "ok",
    "time": "10.9.1.11 answers",
    "volume": f"db1-data mounted {20 * 2**30}",
}


@pytest.fixture(scope="module")
def topology():
    return Topology.of(load_environment("small"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An environment on existing hosts, to be changed."""
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    file = tmp_path / "mine/environment.yaml"
    file.parent.mkdir()
    file.write_text((CHECKOUT / "inventories/small/environment.yaml").read_text())
    return file.parent


def change(folder, **keys):
    file = folder / "environment.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **keys}, allow_unicode=True))


def judged(topology, **facts):
    """What is missing on db1, by what it is called."""
    out = "\n".join(f"{name}\t{value}" for name, value in {**GOOD, **facts}.items())
    found = findings.judge(topology, topology.node("db1"), Answer("deploy", 0, out), 1000.0, 1001.0)
    return {one.what: one for one in found if one.level is not Level.OK}


def test_a_host_that_has_all_lacks_nothing(topology):
    assert judged(topology) == {}


@pytest.mark.parametrize(
    ("facts", "what", "text"),
    [
        ({"release": "debian 12"}, "release", "debian 12"),
        ({"release": "ubuntu 24.04"}, "release", "ubuntu 24.04"),
        ({"architecture": "riscv64"}, "architecture", "riscv64"),
        ({"sudo": "missing"}, "sudo", "is not installed"),
        ({"sudo": "refused"}, "sudo", "asks for a password"),
        ({"python": ""}, "python3", "is not installed"),
        ({"python": "3.9"}, "python3", "3.9"),
        ({"disk": str(2**20)}, "disk", "1.0 GiB free on /, 4 are needed"),
        ({"clock": "800"}, "clock", "199 s off"),
        ({"clock": "1100"}, "clock", "99 s off"),
        ({"interface": "eth0", "links": "eth0"}, "interface", "eth0 has 10.20.0.68"),
        ({"interface": "", "links": "ens3"}, "interface", "none has 10.20.0.68"),
        ({"firewall": "ufw"}, "other firewall", "ufw"),
        ({"mirror": "E: Failed to fetch"}, "package mirror", "E: Failed to fetch"),
        ({"volume": "db1-data absent"}, "volume db1-data", "nothing is mounted at /var/lib/postgresql"),
        ({"volume": f"db1-data mounted {2**30}"}, "volume db1-data", "1.0 GiB, 20 are needed"),
        ({"volume": "db1-data nodevice"}, "volume db1-data", "is no block device"),
        ({"volume": f"db1-data holds {20 * 2**30} ext4 customers"}, "volume db1-data", "holds ext4, which Jinku has not made"),
        ({"volume": f"db1-data holds {20 * 2**30} something -"}, "volume db1-data", "holds something"),
    ],
)  # fmt: skip
def test_each_lack_is_named_with_its_remedy(topology, facts, what, text):
    lacks = judged(topology, **facts)
    assert list(lacks) == [what]
    assert text in lacks[what].text
    assert lacks[what].remedy
    assert (lacks[what].level, lacks[what].host) == (Level.MISSING, "db1")


def test_an_empty_disk_is_taken_only_when_told(folder):
    empty = {"volume": f"db1-data empty {20 * 2**30}"}
    assert judged(Topology.of(load_environment(folder)), **empty) == {}  # inventories/small says `format: true`
    change(folder, existing={"disks": {"db1-data": {"device": "/dev/vdb"}}, "interface": "ens3"})
    lack = judged(Topology.of(load_environment(folder)), **empty)["volume db1-data"]
    assert lack.remedy == "`existing.disks.db1-data.format: true`, if it may get a file system"
    for kind in ("ext4", "crypto_LUKS"):
        own = {"volume": f"db1-data holds {20 * 2**30} {kind} db1-data"}
        assert judged(Topology.of(load_environment(folder)), **own) == {}


@pytest.mark.parametrize(("maps", "becomes"), [("yes", "LUKS2"), ("no", "no dm-crypt")])
def test_it_is_said_beforehand_what_becomes_of_an_empty_disk(topology, maps, becomes):
    out = "\n".join(
        f"{name}\t{value}"
        for name, value in {**GOOD, "volume": f"db1-data empty {20 * 2**30}", "dmcrypt": maps}.items()
    )
    found = findings.judge(topology, topology.node("db1"), Answer("deploy", 0, out), 1000.0, 1001.0)
    (said,) = (one.text for one in found if one.what == "volume db1-data")
    assert becomes in said


@pytest.mark.parametrize("trouble", list(Trouble))
def test_no_way_to_a_host_is_one_finding_with_what_to_do(topology, trouble):
    answer = Answer(trouble=trouble, offered=KEY, err="because")
    (found,) = findings.judge(topology, topology.node("db1"), answer, 0.0, 0.0)
    assert found.level is Level.MISSING
    assert found.remedy


def test_fingerprints_are_those_of_ssh_keygen(tmp_path):
    file = tmp_path / "key.pub"
    file.write_text(KEY + "\n")
    told = subprocess.run(["ssh-keygen", "-lf", file], capture_output=True, text=True, check=True).stdout
    assert host_keys.fingerprint(KEY) in told


def test_known_hosts_are_read_by_name_fqdn_and_address_and_written_behind_what_is_there(topology, tmp_path):
    (tmp_path / "known_hosts").write_text(
        f"# mine\n10.20.0.68,other {KEY}\ncrm1.crm.example.internal {KEY} comment\nsec1 ssh-rsa AAAA\n"
    )
    assert host_keys.read(tmp_path, topology) == {"db1": KEY, "crm1": KEY}
    host_keys.record(tmp_path, {"sec1": KEY})
    assert host_keys.read(tmp_path, topology)["sec1"] == KEY
    assert (tmp_path / "known_hosts").read_text().startswith("# mine\n")


def test_the_owners_automation_key_is_used_and_no_other_is_made(folder, tmp_path):
    key = tmp_path / "ours"
    change(folder, existing={"automation_key": str(key)})
    topology, places = Topology.of(load_environment(folder)), Places("small")
    with pytest.raises(InputError, match=r"existing.automation_key: .* cannot be read; a key pair"):
        ssh_access.use_automation_key(topology, places)
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", key], check=True)
    ssh_access.use_automation_key(topology, places)
    ssh_access.use_automation_key(topology, places)
    assert ssh_access.ensure_automation_key(places) == key.with_suffix(".pub").read_text().strip()
    another = tmp_path / "another"
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", another], check=True)
    change(folder, existing={"automation_key": str(another)})
    with pytest.raises(InputError, match="hosts know another key"):
        ssh_access.use_automation_key(Topology.of(load_environment(folder)), places)


@pytest.mark.parametrize(
    ("existing", "text"),
    [
        ({"disks": {"db9-data": {"device": "/dev/vdb"}}}, "existing.disks.db9-data: there is no such volume; one of "),
        ({"disks": {"db1-data": {"device": "vdb; rm"}}}, "existing.disks.db1-data.device: is 'vdb; rm'"),
        ({"user": "automation"}, "existing.user: 'automation' is the account that Jinku makes for itself"),
        ({"user": "-oProxyCommand=x"}, "existing.user: is '-oProxyCommand=x'"),
        ({"key": "id_ed25519\nProxyCommand x"}, "existing.key: is "),
        ({"interface": "eth0 x"}, "existing.interface: is 'eth0 x'"),
    ],
)
def test_wrong_choices_are_named(folder, existing, text):
    change(folder, existing=existing)
    with pytest.raises(InputError) as error:
        load_environment(folder)
    assert text in str(error.value)


def test_a_fingerprint_must_look_like_one(folder):
    change(folder, addresses={"db1": {"fingerprint": "MD5:aa:bb"}})
    with pytest.raises(InputError, match=r"addresses.db1.fingerprint: is 'MD5:aa:bb'"):
        load_environment(folder)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("probes: []", "probes: is []; a mapping, such as {a-dmz: {address: 10.20.0.5, command: [ssh]}}"),
        ("schema_version: 1\nprobes: {}\nprobes: {}", "line 3, column 1: the key 'probes' is written twice; "),
        (
            "{schema_version: 1, probes: {outside: {address: 192.0.2.66, command: [sh, -c]}}}",
            "probes: a-app, a-audit, a-data, a-dmz, ",
        ),
        (
            "{schema_version: 1, probes: {outside: {address: 66, command: []}}}",
            "probes.outside.command: has 0; at least 1\n",
        ),
        (None, "probes.a-dmz.address: is 'nowhere'; an IPv4 address, such as 10.20.0.5"),
    ],
)
def test_probes_that_are_not_whole_are_named(topology, tmp_path, monkeypatch, text, told):
    monkeypatch.syspath_prepend(str(Path(CHECKOUT / "compliance_tests")))
    sys.modules.pop("faults", None)
    from faults import placed

    if text is None:
        probe = {"address": "10.20.0.5", "command": ["sh", "-c"]}
        probes = {key: dict(probe) for key in placed.wanted(topology)}
        probes["a-dmz"]["address"] = "nowhere"
        text = yaml.safe_dump({"schema_version": 1, "probes": probes})
    (tmp_path / "probes.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        placed.read(tmp_path, topology)
    assert told in str(error.value)


def test_every_wrong_value_in_probes_is_told_in_our_words(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(CHECKOUT / "compliance_tests")))
    sys.modules.pop("faults", None)
    from faults import placed

    probe = {"address": "10.20.0.5", "address6": "fd20::5", "foreign": "10.20.0.6", "command": ["sh", "-c"]}
    every_wrong_value_is_told_in_our_words(placed.File, {"schema_version": 1, "probes": {"a-dmz": probe}})


def test_a_command_for_a_host_is_one_word_for_each_thing(topology):
    """Names and paths come from environment.yaml: none of them can become another command."""
    assert findings.command(topology, topology.node("db1")).startswith(
        "sh -s -- 10.20.0.68 http://10.9.1.10:3142 10.9.1.11 '"
    )
    assert contact.AUTOMATION == "automation"


@pytest.mark.parametrize(
    "value",
    ["", "x", "-1", "9" * 40, "1 2 3", "²", "\x1b[2J", "db1-data", "db1-data holds", "db1-data x 99999999999999 z"],
)
@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_host_may_say_anything(topology, name, value):
    """Nonsense is a lack, never a traceback."""
    assert judged(topology, **{name: value}) or name in {"time", "memory", "links", "volume"}


def test_what_a_host_says_cannot_write_over_the_screen():
    assert ways._plain("a\x1b]0;x\x07b\r\nc\td\u202e") == "a?]0;x?b?\nc\td?"
