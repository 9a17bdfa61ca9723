# SPDX-License-Identifier: Apache-2.0
"""A person comes and goes by one line: in with the duty's rights and no more; out while sessions are open. Lab only."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import hvac
import pytest
import requests
import yaml
from hvac.exceptions import Forbidden

from jinku import people_access
from jinku.model import Topology, environment_file, load_environment
from jinku.model.topology import SERVICES
from jinku.people_access import Kit
from jinku.places import CHECKOUT, Places
from jinku.ssh_access import ensure_key
from jinku.vault import Fleet, VaultError, manager, through_the_bastion
from jinku.vault.second_factor import fresh_code

FILE = environment_file(os.environ.get("JINKU_ENV", "lab"))
ENVIRONMENT = load_environment(FILE)
TOPOLOGY = Topology.of(ENVIRONMENT)
PLACES = Places(ENVIRONMENT.name)
NAME = "drill-person"
UNREACHED = 255  # so ends ssh when it did not come onto a host, whatever was to run there
AFTER_SECONDS = 10  # sessions that the run ended have noticed by then

SLEEPERS = 'pgrep -f "sleep 471[12]"'

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(ENVIRONMENT.backend != "lab", reason="only the lab's people may be invented"),
]


class Opened(NamedTuple):
    """What was open when the person was removed."""

    sessions: tuple[subprocess.Popen[str], ...]
    client: hvac.Client


def people(folder: Path) -> None:
    """Bring accounts and vault to the people of an environment.yaml."""
    playbook = Path(sys.executable).with_name("ansible-playbook")
    command = [str(playbook), "site.yml", "--tags", "accounts,vault,integrity"]
    environment = {**os.environ, "JINKU_ENV": str(folder), "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def with_line(folder: Path, key: str) -> Path:
    """A copy of the environment with one more operator."""
    copy = folder / "env"
    shutil.copytree(FILE.parent, copy)
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    content["operators"].append({"name": NAME, "duty": "system", "keys": [key]})
    (copy / "environment.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    PLACES.origin.unlink(missing_ok=True)  # the copy is meant to be the same environment
    return copy


def ssh(kit: Kit, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["ssh", "-F", str(kit.config), "-o", "BatchMode=yes", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def on(node: str, command: str) -> str:
    """What a command prints on a node, as root by the automation account; it may fail, the way to the node may not."""
    words = ["ssh", "-F", str(PLACES.ssh_config), node, f"sudo sh -c '{command}'"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != UNREACHED, f"{node}: {done.stderr[-500:]}"
    return done.stdout


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder; at the end the environment is as its file says, and nothing of the person is left."""
    yield tmp_path
    people(FILE.parent)
    shutil.rmtree(PLACES.state / "people" / NAME, ignore_errors=True)
    for node in TOPOLOGY.nodes:
        on(node.name, f"rm -rf /home/{NAME}.left-*")


def nothing_runs_before_the_recorder(kit: Kit, node: str) -> None:
    ssh(kit, node, "echo '[ -n \"${SUDO_USER-}\" ] || echo unrecorded' >.bashrc")
    assert ssh(kit, node, "echo in").stdout.split() == ["in"], "a file of the person's own runs before the recorder"


def no_host_writes_over_a_recording(kit: Kit, node: str, other: str, log: str) -> None:
    """Root of another host resumes a recording that has not ended, by sudo's own program for that."""
    command = ["ssh", "-F", str(kit.config), "-o", "BatchMode=yes", node, "echo begun; sleep 2; echo deed; sleep 30"]
    live = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert live.stdout
        assert [live.stdout.readline().strip() for _ in range(2)] == ["begun", "deed"]
        folder = "/var/log/remote/sessions"
        recording = on(log, f"ls -dt {folder}/{node}/{NAME}/*/* | head -n 1").strip()
        first = on(log, f"head -n 1 {recording}/timing").strip()
        nanoseconds = int(float(first.split()[1]) * 1e9 + 0.5)
        forged = f"{first}\\n1 2.0 5\\n"
        say = f"-h {TOPOLOGY.node(log).fqdn} -p {SERVICES['sessions'].port} -b /etc/jinku/tls/ca.pem -c /etc/jinku/tls/host.pem"
        said = on(
            other,
            f'mkdir -p /tmp/forged && cd /tmp/forged && printf "{forged}" >timing && printf "begun\\ngood\\n" >stdout &&'
            f' printf "1:x:x::unknown:24:80\\n/\\n/bin/true\\n" >log;'
            f" sudo_sendlog {say} -k /etc/jinku/tls/host.key -i {recording} -r 0,{nanoseconds} . 2>&1; rm -r /tmp/forged",
        )
        assert "already complete" in said, f"the recorder let a host resume the recording of another: {said}"
        assert on(log, f"cat {recording}/stdout").split() == ["begun", "deed"]
    finally:
        live.kill()


def in_with_the_rights_of_the_duty(kit: Kit, db: str, bastion: str, log: str) -> None:
    """A system administrator's, and nothing more."""
    assert ssh(kit, db, "id -un; sudo -n id -u").stdout.split() == [NAME, "0"]
    nothing_runs_before_the_recorder(kit, db)
    no_host_writes_over_a_recording(kit, db, bastion, log)
    stranger = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-J", bastion)
    kept_out = ssh(kit, *stranger, str(TOPOLOGY.node(log).address), "true")
    assert kept_out.returncode == UNREACHED
    assert "Permission denied" in kept_out.stderr
    assert not on(log, f"getent passwd {NAME}")


@contextmanager
def everything_open(kit: Kit, fleet: Fleet, code: str, db: str, bastion: str) -> Iterator[Opened]:
    """Two sessions, one of them with a process of root's that outlives its shell, and a login at the vault over the bastion."""
    with ExitStack() as open_ones:

        def begin(node: str, command: str) -> subprocess.Popen[str]:
            words = ["ssh", "-F", str(kit.config), "-o", "BatchMode=yes", node, command]
            process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            open_ones.callback(process.kill)
            return process

        live = begin(db, "echo begun; sudo -n setsid sleep 4711 & exec sleep 4712")
        shell = begin(bastion, "echo begun; exec sleep 4713")
        for process in (live, shell):
            assert process.stdout
            assert process.stdout.readline().strip() == "begun"
        door = open_ones.enter_context(through_the_bastion(fleet, kit.config))
        client = open_ones.enter_context(people_access.entered(fleet, door, NAME, kit.key, code))
        deadline = time.monotonic() + 10
        while len(on(db, SLEEPERS).split()) < 2:
            assert time.monotonic() < deadline, "the sessions have not begun"
            time.sleep(0.5)
        yield Opened((live, shell), client)


def everything_has_ended(opened: Opened, db: str, bastion: str) -> None:
    """Everything that was open, forwarded connections and root's processes too, and the token as well."""
    deadline = time.monotonic() + AFTER_SECONDS
    while any(process.poll() is None for process in opened.sessions):
        assert time.monotonic() < deadline, "a session of somebody who left is still open"
        time.sleep(0.2)
    assert not on(db, SLEEPERS), "what sudo started in the session goes on"
    assert not on(bastion, f'pgrep -u {NAME} || ps -eo args= | grep "[s]shd.*{NAME}"'), (
        "the forwarded connection is open"
    )
    with pytest.raises(requests.RequestException):  # the way is closed
        opened.client.read("auth/token/lookup-self")
    with through_the_bastion(Fleet.of(TOPOLOGY, PLACES)) as ours, pytest.raises(Forbidden):
        ours.client(token=opened.client.token).read("auth/token/lookup-self")


def no_way_leads_in_again(kit: Kit, code: str, db: str, bastion: str) -> None:
    """The certificate is refused, and so is the key, by the hosts and by the vault."""
    for words in ((db,), (bastion,), ("-o", "CertificateFile=none", bastion)):
        refused = ssh(kit, *words, "true")
        assert refused.returncode == UNREACHED
        assert "Permission denied" in refused.stderr, refused.stderr
    with (
        through_the_bastion(Fleet.of(TOPOLOGY, PLACES)) as ours,
        pytest.raises(VaultError, match="is refused"),
        people_access.entered(Fleet.of(TOPOLOGY, PLACES), ours, NAME, kit.key, code),
    ):
        pass
    assert not on(db, f"getent passwd {NAME}; ls /etc/ssh/principals.d | grep {NAME}")


def test_added_by_a_line_and_removed_while_sessions_are_open(place: Path) -> None:
    db, bastion, log = (TOPOLOGY.nodes_of(tier)[0].name for tier in ("postgres", "bastion", "log"))
    key = place / "key"
    folder = with_line(place, ensure_key(key, NAME))
    people(folder)
    topology = Topology.of(load_environment(folder))
    kit = people_access.kit_of(topology, PLACES, NAME, key)
    fleet = Fleet.of(topology, PLACES)
    with through_the_bastion(fleet) as ours, manager(fleet, ours) as chief:
        people_access.give_second_factor(fleet, chief, NAME, place / "otp")

    def code() -> str:
        return fresh_code((place / "otp").read_text().strip(), place / "used")

    people_access.sign(topology, PLACES, kit, code())
    in_with_the_rights_of_the_duty(kit, db, bastion, log)
    with everything_open(kit, fleet, code(), db, bastion) as opened:
        people(FILE.parent)  # removed
        everything_has_ended(opened, db, bastion)
    no_way_leads_in_again(kit, code(), db, bastion)
