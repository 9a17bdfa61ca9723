# SPDX-License-Identifier: Apache-2.0
"""Sessions of the named people, really opened: with the vault's certificate, over the bastion, as each of them on each host.

Their private keys are at hand in the lab only, where Jinku made them; elsewhere nobody but the people themselves has them.
"""

import secrets
import subprocess
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jinku import people_access
from jinku.model import Topology
from jinku.people_access import Kit
from jinku.places import Places
from jinku.vault import VaultError

MARK = secrets.token_hex(6)
# One line of answers for each duty: who am I, am I root by sudo, do I read the journal, may I reset locks, can I touch the records.
# A masked unit is a link to /dev/null, which everybody may write to.
PROBE = (
    f"echo mark-{MARK}; echo me=$(id -un); echo root=$(sudo -n /usr/bin/id -u 2>/dev/null);"
    " echo shell=$(sudo -n /bin/sh -c 'echo yes' 2>/dev/null);"
    " echo journal=$(journalctl -q -n 1 -o cat --no-pager _SYSTEMD_UNIT=ssh.service 2>/dev/null | head -c 1 | wc -c);"
    " echo locks=$(sudo -n /usr/sbin/faillock --user nobody --reset >/dev/null 2>&1 && echo yes);"
    " echo stops=$(sudo -n -l /usr/bin/systemctl stop rsyslog.service >/dev/null 2>&1 && echo yes);"
    " echo writes=$(find /var/log/journal /var/log/remote /etc ! -lname /dev/null -writable -print -quit 2>/dev/null)"
)

_AT_ONCE = 6
_SECONDS = 60


@dataclass(frozen=True)
class Session:
    """What came of one: the command line, its exit code (255: no session) and what it printed. ``began``: time.time()."""

    command: str
    code: int
    out: str
    err: str
    began: float

    @property
    def text(self) -> str:
        """For the record."""
        return self.out + self.err


@dataclass
class People:
    """Opens sessions as people. Each person's key is signed once; sessions that were begun ahead run side by side.

    A person's way over the bastion is proven once and then shared, as people's own clients may do; each host proves anew.
    """

    topology: Topology
    places: Places
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_AT_ONCE))
    _sockets: tempfile.TemporaryDirectory = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="jinku-people-")
    )
    _kits: dict[str, Kit] = field(default_factory=dict)
    _codes: dict[str, str] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)
    _begun: dict[tuple[str, str, str], Future[Session]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def possible(self, name: str) -> bool:
        """Whether this machine has the person's private key."""
        return (self.places.ssh / "operators" / name).is_file()

    def kit(self, name: str) -> Kit:
        """The person's kit, with a certificate that the vault signed in this session of tests."""
        with self._lock:
            if name not in self._kits:
                kit = people_access.kit_of(self.topology, self.places, name, None)
                self._codes[name] = people_access.code_of(self.places, name)
                people_access.sign(self.topology, self.places, kit, self._codes[name])
                self._share_the_way(kit)
                self._kits[name] = kit
            return self._kits[name]

    def over_the_bastion(self, kit: Kit) -> Path:
        """The person's own configuration, with the shared way over the bastion."""
        return kit.folder / "config.shared"

    def _share_the_way(self, kit: Kit) -> None:
        """Prove the person to each bastion, once. Where that is refused each session tries by itself, and fails by itself."""
        bastions = [node.name for node in self.topology.nodes_of("bastion")]
        path = f"{self._sockets.name}/{kit.name}-%h"
        shared = f"Host {' '.join(bastions)}\n  ControlPath {path}\n  ControlPersist 120\n\n{kit.config.read_text(encoding='utf-8')}"
        self.over_the_bastion(kit).write_text(shared, encoding="utf-8")
        for name in bastions:
            words = ["ssh", "-F", str(self.over_the_bastion(kit)), "-o", "BatchMode=yes", "-fNM", name]
            subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_SECONDS)

    def close(self) -> None:
        """End what runs, and the shared ways."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        for kit in self._kits.values():
            for node in self.topology.nodes_of("bastion"):
                words = ["ssh", "-F", str(self.over_the_bastion(kit)), "-O", "exit", node.name]
                subprocess.run(words, capture_output=True, check=False, timeout=_SECONDS)
        self._sockets.cleanup()

    def with_a_wrong_code(self, name: str) -> str:
        """What the vault says to the person's key with a wrong code; asked once a session of tests.

        :raises VaultError: the vault said nothing of a code: it is away, say.
        """
        if name not in self._refused:
            try:
                kit = self.kit(name)  # refused, too, where the vault asks for no code at all
                wrong = f"{(int(self._codes[name]) + 1) % 1000000:06}"
                people_access.sign(self.topology, self.places, kit, wrong)
            except VaultError as error:
                said = str(error)
                refused = " is refused (" in said or "asks for no second technique" in said
                # A refusal to sign came behind the login, which a wrong code must not pass.
                if not refused or said.startswith("ssh_people/sign/"):
                    raise
                self._refused[name] = str(error)
            else:
                self._refused[name] = "signed"
        return self._refused[name]

    def begin(self, name: str, node: str, command: str) -> None:
        """Begin a session, and do not wait."""
        key = (name, node, command)
        known = self._begun.get(key)
        if known is None or (known.done() and known.exception()):  # one that never came to be is tried again
            self._begun[key] = self.pool.submit(self.open, name, node, command)

    def said(self, name: str, node: str, command: str) -> Session:
        """What came of a session, begun now or ahead."""
        self.begin(name, node, command)
        return self._begun[name, node, command].result()

    def open(self, name: str, node: str, command: str, *options: str) -> Session:
        """Open a session of its own as ``name`` on ``node`` and run ``command``; ``options``: more words for ssh."""
        config = self._config(self.kit(name), node)
        words = ["ssh", "-F", str(config), "-o", "BatchMode=yes", *options, node]
        began = time.time()
        done = subprocess.run(
            [*words, command], capture_output=True, text=True, check=False, timeout=_SECONDS, errors="replace"
        )
        return Session(" ".join([*words, command]), done.returncode, done.stdout, done.stderr, began)

    def _config(self, kit: Kit, node: str) -> Path:
        """The person's own configuration, with every node in it: whoever has no account there is to be refused there."""
        there = self.topology.node(node)
        if "bastion" in there.tiers:
            return kit.config
        text = self.over_the_bastion(kit).read_text(encoding="utf-8")
        if f"Host {node} " in text:
            return self.over_the_bastion(kit)
        near = self.topology.nodes_of("bastion")[0].name
        block = f"Host {node}\n  HostName {there.address}\n  HostKeyAlias {node}\n  ProxyJump {near}\n"
        known = kit.known_hosts.read_text(encoding="utf-8").partition(" ")[2]
        (kit.folder / f"known_hosts.{node}").write_text(
            f"{kit.known_hosts.read_text(encoding='utf-8')}@cert-authority {node} {known.partition(' ')[2]}",
            encoding="utf-8",
        )
        other = kit.folder / f"config.{node}"
        other.write_text(block + text.replace(str(kit.known_hosts), f"{kit.known_hosts}.{node}"), encoding="utf-8")
        return other


@pytest.fixture(scope="session")
def _people(request, topology, places):
    """Sessions as everybody whose key is at hand; those that the tests will ask for are begun ahead, side by side."""
    made = People(topology, places)
    wanted = {
        item.callspec.params["subject"].node
        for item in request.session.items
        if "people" in item.fixturenames and item.callspec.params["subject"].object_class == "host"
    }
    for node in (one.name for one in topology.nodes if one.name in wanted):
        for name in present(topology):
            if made.possible(name):
                made.begin(name, node, PROBE)
    yield made
    made.close()


@pytest.fixture
def people(topology, _people):
    """Sessions as the named people; where their keys are not at hand, the test declines to judge."""
    for name in present(topology):
        if not _people.possible(name):
            pytest.skip(f"the private key of {name} is with its owner; only the lab makes people's keys itself")
    return _people


def present(topology):
    """Names of the people who work here now."""
    return [one.name for one in topology.env.operators if one.state == "present"]


def answers(session):
    """What a probe said, by name."""
    return dict(line.split("=", 1) for line in session.out.splitlines() if "=" in line)


def tried(people, observe, name, node, command=PROBE):
    """One session, on record."""
    session = people.said(name, node, command)
    observe("controller", session.command, session.text, session.code, began=session.began)
    return session
