# SPDX-License-Identifier: Apache-2.0
"""A machine with a kernel of its own (virtual_machine.py), as the host crm1 with its one volume, and with a spare disk beside it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from vault_world import World
from virtual_machine import Machine

from jinku.places import CHECKOUT
from jinku.vault import manager, wrap

NAME, PLACE, DISK = "crm1-attachments", "/var/lib/tryton", "/dev/disk/by-id/virtio-crm1-attachments"
SPARE, SPARE_PLACE = "/dev/disk/by-id/virtio-spare", "/srv/spare"
OTHER = "JINKU_ETC=/etc/jinku-other JINKU_RUN=/run/jinku-other jinku-volumes"
_SECONDS = 120.0


def enrol(vm: Machine, world: World, host: str, etc: str) -> None:
    """Make the machine known at the vault as ``host``, with its identity below ``etc``."""
    told = {"host": host, "fqdn": f"{host}.test.jinku", "server_name": "vault.test.jinku", "group": "root"}
    told |= {"address": "vault.test.jinku", "port": world.variables["jinku_services"]["vault"]["port"]}
    vm.do(f"mkdir -p -m 0700 {etc}/identity {etc}/tls")
    vm.put(f"{etc}/enrol.json", json.dumps(told))
    vm.put(f"{etc}/identity/root.pem", world.door.root.read_text())
    with manager(world.fleet, world.door) as client:
        bootstrap = json.dumps(asdict(wrap(world.fleet, client, [host])[host]))
    vm.do(f"JINKU_ETC={etc} jinku-enrol enrol", bootstrap)


def volumes_role(vm: Machine, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the role `volumes` over the machine, as `jinku up` does."""
    disk = {"name": NAME, "mount": PLACE, "device": DISK, "format": True}
    variables = {
        "ansible_host": "127.0.0.1",
        "ansible_port": vm.port,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(vm.folder / "key"),
        "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={vm.folder}/known_hosts -o ControlPath={vm.folder}/way",
        "ansible_timeout": 60,
        "jinku_env": {"name": "test"},
        "jinku_node": {"name": "crm1", "tiers": ["crm"], "volumes": [disk]},
    }
    (vm.folder / "hosts.yaml").write_text(yaml.safe_dump({"all": {"hosts": {"crm1": variables}}}))
    (vm.folder / "play.yaml").write_text(
        yaml.safe_dump([{"hosts": "all", "gather_facts": False, "roles": ["volumes"]}])
    )
    told = {
        **os.environ,
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_INVENTORY_ENABLED": "yaml",
        "PYTHONPATH": str(CHECKOUT),
    }
    words = [Path(sys.executable).with_name("ansible-playbook"), "-i", vm.folder / "hosts.yaml", "--diff", *more]
    return subprocess.run(
        [*map(str, words), str(vm.folder / "play.yaml")],
        env=told, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


def said(vm: Machine) -> dict[str, Any]:
    """What the machine's own program says of its one volume."""
    (told,) = json.loads(vm.do("jinku-volumes state"))
    return dict(told)


def holds(vm: Machine, disk: str, text: str) -> bool:
    """Whether a disk holds a text in the clear, read outside of the machine."""
    vm.do("sync")
    search = [sys.executable, CHECKOUT / "compliance_tests/asked/raw_search.py", vm.raw(disk), text]
    return int(subprocess.run(search, capture_output=True, check=True).stdout.split()[0]) > 0


def opens(vm: Machine, within: float = _SECONDS) -> bool:
    """Whether the volume is open before the time is over."""
    deadline = time.monotonic() + within
    while vm.run("systemctl is-active --quiet jinku-volumes.service").returncode:
        if time.monotonic() > deadline:
            return False
        time.sleep(2)
    return bool(said(vm)["open"])


def spare(vm: Machine, *, may_format: bool = True) -> None:
    """Have the spare disk as a volume of this machine's own, whose key is sealed to the machine as the vault's is."""
    one = {"name": "spare", "mount": SPARE_PLACE, "device": SPARE, "format": may_format}
    told = {"host": "crm1", "engine": "volumes", "source": "host", "volumes": [one]}
    vm.put("/etc/jinku-other/volumes.json", json.dumps(told))


class Asked:
    """The machine as the control tests ask a host."""

    def __init__(self, vm: Machine) -> None:
        self.vm, self.backend = vm, SimpleNamespace(hostname=vm.name)

    def run(self, command: str, given: str = "", timeout: float = 60) -> SimpleNamespace:
        done = self.vm.run(command, given, timeout)
        return SimpleNamespace(rc=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def check_output(self, command: str) -> str:
        return self.vm.do(command).rstrip("\n")


def judge_of(vm: Machine) -> Callable[[str], None]:
    """``judge(which)``: the control test of volumes of that side, `setting` or `behaviour`, says nothing or raises what it found."""
    sys.path.insert(0, str(CHECKOUT / "compliance_tests"))
    loader = SourceFileLoader("compliance_test_volumes", str(CHECKOUT / "compliance_tests/test_volumes.py"))
    spec = spec_from_loader(loader.name, loader)
    assert spec
    tests = module_from_spec(spec)
    loader.exec_module(tests)
    volume = SimpleNamespace(name=NAME, mount=PLACE)
    topology = SimpleNamespace(
        nodes=[SimpleNamespace(name="crm1", volumes=(volume,))], env=SimpleNamespace(backend="existing")
    )
    subject = SimpleNamespace(node="crm1", tiers=("crm",), site="a")

    def judge(which: str) -> None:
        if which == "setting":
            tests.test_the_kernel_encrypts_every_volume(Asked(vm), topology, subject, lambda *_: None)
        else:
            tests.test_what_is_written_to_a_volume_is_not_readable_on_its_disk(Asked(vm), None, topology, None, subject)

    return judge
