# SPDX-License-Identifier: Apache-2.0
"""An environment of the backend `existing` on bare hosts, behind a router that lets through what the request sheet asks for."""

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import own_kernel
import pytest
import yaml
from bare_hosts import INTERFACE, MACHINE, OWNER, DataCentre, image

from jinku.cli.exit_codes import ExitCode
from jinku.existing import host_keys
from jinku.model import Topology, load_environment
from jinku.model.flow_sheet import flow_sheet_csv
from jinku.places import CHECKOUT, Places

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} {}"
OPERATORS = {
    "li-na": ("system", "Kxiqn6nUdMwOAF7rKMLs8uUoDoVkjSoSV5Upx1VGdVf"),
    "wang-fang": ("audit", "DZUSuBqGYDqj6W4FQVMmUFJmGMQdTHpQe0m0FoBV9vQ"),
    "zhang-wei": ("security", "Gt6Hq9r9cXrXyxbRlE6NnSIS3fg4lXU1t5cSE1xiH8N"),
}
CONTROLLER = "172.29.84.1"
DISK = "aud1-logs"
MACHINE_DISKS = ("aud2-seals", "aud2-backup")


def choices(key, machine_disks=()):
    """Small networks (a /29 a zone), a zone elsewhere at site b, IPv4 alone there, hosts at other addresses, another interface."""
    return {
        "schema_version": 1,
        "name": "bare",
        "profile": "small",
        "backend": "existing",
        "domain": "bare.internal",
        "sites": {
            "a": {"title": "rented racks", "network": "10.84.0.0/26", "network6": "fd84:a::/56"},
            "b": {"network": "10.84.1.0/24", "zones": {"audit": {"network": "10.84.9.64/27"}}},
        },
        "operators": [
            {"name": name, "duty": duty, "keys": [KEY.format(key, name)]} for name, (duty, key) in OPERATORS.items()
        ],
        "outside": {"operators": [f"{CONTROLLER}/32"], "mirror": [CONTROLLER], "time": [CONTROLLER]},
        "addresses": {"aud2": {"address": "10.84.9.77"}, "db1": {"address": "10.84.0.21"}},
        "existing": {
            "user": OWNER,
            "key": str(key),
            "interface": INTERFACE,
            "disks": {DISK: {"device": "/dev/vdb", "format": True}}
            | {name: {"device": f"/dev/disk/by-id/virtio-{name}", "format": True} for name in machine_disks},
        },
    }


def ruleset(sheet, without=""):
    """A router's packet filter from the sheet alone, as a network team that knows nothing else would write it."""
    rules = ["ct state established,related accept", "icmpv6 type != 255 accept"]
    for row in list(csv.reader(io.StringIO(sheet.removeprefix("\ufeff"))))[1:]:
        for family, source, destination in (("ip", row[5], row[9]), ("ip6", row[6], row[10])):
            if source and destination:
                ends = [
                    f"{family} {side} {{ {', '.join(text.split())} }}"
                    for side, text in (("saddr", source), ("daddr", destination))
                    if text != "任意 any"
                ]
                verdict = (
                    "accept" if row[1] != without else "reject with icmpx admin-prohibited"
                )  # at once: nobody waits
                rules.append(f"{' '.join(ends)} {row[11]} dport {row[12]} ct state new {verdict}")
    chain = "".join(f"    {rule}\n" for rule in dict.fromkeys(rules))
    head = "table inet team\ndelete table inet team\ntable inet team {\n  chain forward {\n    type filter hook forward priority 0; policy drop;\n"
    return f"{head}{chain}  }}\n}}\n"


class Environment:
    """The environment with its hosts, and `jinku` as a person calls it."""

    def __init__(self, folder: Path, *, machine: bool) -> None:
        self.folder = folder
        self.file = folder / "environment.yaml"
        self.choices = choices(
            Path(os.environ.get("JINKU_BARE_DIR", "/var/tmp/jinku-bare")) / "deploy", MACHINE_DISKS * machine
        )
        self.write()
        self.centre = DataCentre(self.topology, [DISK], [MACHINE] * machine)
        self.places = Places("bare")

    @property
    def topology(self):
        return Topology.of(load_environment(self.folder))

    def write(self, **more):
        self.file.write_text(yaml.safe_dump({**self.choices, **more}, allow_unicode=True))

    def guard(self, without=""):
        """Close the router but for what the sheet asks for."""
        self.centre.guard(ruleset(flow_sheet_csv(self.topology), without))

    def jinku(self, *words, said="", timeout=3000):
        command = [str(Path(sys.executable).parent / "jinku"), "--env", str(self.folder), *words]
        return subprocess.run(
            command, input=said, capture_output=True, text=True, check=False, cwd=CHECKOUT, timeout=timeout
        )

    def doctor(self):
        """(host, what) -> finding, of those that are missing."""
        done = self.jinku("doctor", "--json")
        found = json.loads(done.stdout)["findings"]
        missing = {(one["host"], one["what"]): one for one in found if one["level"] == "missing"}
        assert done.returncode == (5 if missing else 0), done.stderr
        return missing

    def inside(self, name, command):
        """What a command prints on a host that is up: on a machine by the automation account, for it has no console here."""
        if name not in self.centre.machines:
            return self.centre.inside(name, command)
        words = ["ssh", "-F", self.places.ssh_config, name, "--", f"sudo -n sh -c {shlex.quote(command)}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, f"{name}: {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def checked(self):
        """The newest check: (item, object) -> (verdict, reason)."""
        newest = max(self.places.reports.glob("*/check.json"), key=lambda path: path.parent.name)
        document = json.loads(newest.read_text())
        return {(one["item"], one["object"]): (one["verdict"], one["reason"]["text"]) for one in document["verdicts"]}

    def untouched(self):
        """Nothing of Jinku's is on any host."""
        for name in self.centre.hosts:
            here = self.centre.inside(
                name, "getent passwd automation; ls /etc/jinku /var/lib/jinku 2>/dev/null", check=False
            )
            assert not here, f"{name}: {here}"


@pytest.fixture(scope="session")
def bare(request, tmp_path_factory):
    """Nine bare hosts, their network closed but for the sheet, and nothing of Jinku's on them; one is a machine where a test asks for it (existing_vm)."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes hosts")
    machine = any(item.get_closest_marker("existing_vm") for item in request.session.items)
    if machine and (lack := own_kernel.missing()):
        pytest.skip(lack)
    before = os.environ.get("JINKU_STATE_DIR")
    os.environ["JINKU_STATE_DIR"] = str(tmp_path_factory.mktemp("state"))
    environment = Environment(tmp_path_factory.mktemp("bare"), machine=machine)
    try:
        environment.centre.up()
        environment.guard()
        probes = environment.centre.place_probes()
        (environment.folder / "probes.yaml").write_text(yaml.safe_dump(probes))
        yield environment
    finally:
        if not os.environ.get("JINKU_BARE_KEEP"):
            environment.centre.down()
        os.environ.pop("JINKU_STATE_DIR")
        if before:
            os.environ["JINKU_STATE_DIR"] = before


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
    found = bare.checked()
    assert found["dengbao:8.1.4.2.c", "host:db1"][0] != "conform", (
        "the owner's account, which nobody declared, is a finding"
    )
    retired = bare.jinku("contact", "--retire")
    assert retired.returncode == 0, retired.stderr
    again = bare.jinku("up")
    assert again.returncode in (ExitCode.OK, ExitCode.NOT_CONFORM, ExitCode.INCOMPLETE), again.stderr
    return bare


@pytest.fixture(scope="session")
def old_image():
    """A Debian 12 for another kind of machine: two wrong things in one image."""
    return image("bookworm", "i386")
