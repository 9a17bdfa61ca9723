# SPDX-License-Identifier: Apache-2.0
"""Hosts by the real engine and the real provider, killed in the middle: the next run finishes, and nothing is left at the end."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from jinku import cli, engine, provision, ssh_access
from jinku.model import Topology, load_environment
from jinku.places import Places, cache_root
from stacks.provider.lab import hosts, leftovers

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes hosts")]

NAME = "interrupted"
SITES = {"a": {"title": "only site", "network": "10.198.0.0/24", "network6": "fd98:a::/56"}}
LAB = {"wan": "172.29.198.0/24", "wan6": "fd98:ff::/64", "link": "172.30.198.0/29", "link6": "fd98:fe::/64"}
#: What `jinku up` does first; a process of its own, so that it can be killed.
UP = """
import sys
from pathlib import Path
from jinku import engine, provision
from jinku.places import Places
def tell(step): print(step.resource, step.seconds, flush=True)
(result,) = provision.run("up", Places(sys.argv[1]), Path(sys.argv[2]), ["a"], engine.ensure(print), tell)
sys.exit(result.error or 0)
"""
#: What it does next, of one host alone: the others would say the same, later. A run ends with integrity, which settles it.
CONVERGE = """
import sys
from pathlib import Path
from jinku import converge
def tell(role, task, seconds, changed): print(changed if seconds else "", role, task, flush=True)
done = converge.run(Path(sys.argv[1]), ["--limit", "ops1", "--tags", "names,kernel,integrity"], tell)
print(*done.troubles, *done.changes, *done.other, sep="\\n", file=sys.stderr)
sys.exit(done.code or 100 + done.changed["ops1"])
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A laboratory with one site, and a state folder of its own; the images are the machine's."""
    monkeypatch.setenv("JINKU_CACHE_DIR", str(cache_root()))
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "s"))
    monkeypatch.setenv("JINKU_ENV", "")
    monkeypatch.setenv("PATH", os.environ["PATH"])
    made = tmp_path / NAME
    with pytest.raises(SystemExit):
        cli.main(["init", str(made)])
    file = made / "environment.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"sites": SITES, "lab": LAB}, allow_unicode=True))
    yield made
    asyncio.run(leftovers.sweep(NAME, with_volumes=True))


def start(folder):
    return subprocess.Popen([sys.executable, "-c", UP, NAME, str(folder)], stdout=subprocess.PIPE, text=True)


def killed_in_the_middle(folder):
    """Kill an `up` as soon as the first host is being made; returns when its engine and provider are gone, too."""
    process = start(folder)
    for line in process.stdout:
        if line.startswith("host "):
            break
    else:
        pytest.fail("no host was begun")
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while orphans() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not orphans()


def converging(folder):
    return subprocess.Popen(
        [sys.executable, "-c", CONVERGE, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished_after_a_kill_during_ansible(folder):
    """Kill Ansible's part as soon as something on the host was changed; the next run does the rest, the third nothing."""
    process = converging(folder)
    for line in process.stdout:
        if line[0] in "123456789":
            break
    else:
        pytest.fail(f"nothing was changed: {process.stderr.read()}")
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while orphans(b"ansible-playbook") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not orphans(b"ansible-playbook"), "a run whose jinku is dead goes on by itself"
    second = converging(folder)
    _out, errors = second.communicate()
    assert second.returncode > 100, errors
    third = converging(folder)
    _out, errors = third.communicate()
    assert third.returncode == 100, errors


def orphans(program=b"pulumi"):
    """Engines and providers, or other programs, of this test's environment that still run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = os.environ["JINKU_STATE_DIR"].encode() in (process / "environ").read_bytes()
            if ours and program in (process / "cmdline").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


def test_an_up_that_was_killed_is_finished_by_the_next_and_destroy_leaves_nothing(folder, capsys):
    killed_in_the_middle(folder)
    places = Places(NAME)
    assert list((places.pulumi / ".pulumi/locks").rglob("*.json")), "the engine was killed with its lock held"
    process = start(folder)
    process.communicate()
    assert process.returncode == 0
    assert {host.name for host in hosts.all_of(NAME)} == {"edge1", "crm1", "db1", "sec1", "ops1", "aud1", "room1"}
    (again,) = provision.run("up", places, folder, ["a"], engine.ensure(print), lambda _step: None)
    assert (again.error, again.changed) == ("", 0)

    topology = Topology.of(load_environment(folder))
    keys = {name: facts["ssh_host_key"] for name, facts in again.outputs["nodes"].items()}
    ssh_access.ensure_operator_keys(topology, places)
    ssh_access.write(topology, places, keys)
    finished_after_a_kill_during_ansible(folder)

    state = provision._stack(places, folder, "a").export_stack()
    key = places.automation_key.read_text().splitlines()[1]
    assert key not in json.dumps(state.deployment)
    assert not [each for each in state.deployment["resources"] if each.get("additionalSecretOutputs")]

    with pytest.raises(SystemExit) as ended:
        cli.main(["destroy", "--yes", "--env", str(folder)])
    assert ended.value.code == 0, capsys.readouterr()
    assert asyncio.run(leftovers.leftovers(NAME)) == {}
    assert not places.pulumi.exists()
    assert json.loads(places.journal.read_text().splitlines()[-1])["ok"] is True


def test_destroy_after_a_crash_removes_what_no_state_knows(folder):
    killed_in_the_middle(folder)
    with pytest.raises(SystemExit) as ended:
        cli.main(["destroy", "--yes", "--env", str(folder)])
    assert ended.value.code == 0
    assert asyncio.run(leftovers.leftovers(NAME)) == {}
