# SPDX-License-Identifier: Apache-2.0
"""The way to hosts that exist, before and after Jinku has an account there: always through the bastion, to known keys only."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from jinku import ssh_access
from jinku.existing import host_keys
from jinku.model import Node, Topology
from jinku.model.inventory import AUTOMATION
from jinku.places import Places

CONNECT_SECONDS = 10
COMMAND_SECONDS = 120
_SSH_FAILED = 255


class Trouble(StrEnum):
    """Why there is no way to a host."""

    KEY_UNKNOWN = "host key unknown"
    KEY_WRONG = "host key"
    NO_LOGIN = "login"
    UNREACHABLE = "reachable"
    BASTION = "bastion"


@dataclass(frozen=True)
class Answer:
    """What came of a command on a host. ``user``: who ran it; ``trouble``: None when it ran at all."""

    user: str = ""
    code: int = 0
    out: str = ""
    err: str = ""
    trouble: Trouble | None = None
    offered: str = ""


@dataclass
class Ways:
    """A way to each node, through its bastion. Made by :func:`ways`; ``keys`` are the host keys that are believed."""

    topology: Topology
    places: Places
    scratch: Path
    keys: dict[str, str]
    pinned: dict[str, str] = field(default_factory=dict)
    _jumps: dict[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """The owner's account."""
        return self.topology.env.existing.user

    def bastion_of(self, node: Node) -> Node | None:
        """The bastion through which a node is reached, None for a bastion itself and where there is none."""
        bastions = self.topology.nodes_of("bastion")
        if "bastion" in node.tiers or not bastions:
            return None
        return next((bastion for bastion in bastions if bastion.site == node.site), bastions[0])

    def believe(self, keys: dict[str, str]) -> None:
        """Take more host keys for true, and look for the ways anew."""
        self.keys |= keys
        self._jumps.clear()

    def all(self, nodes: list[Node], command: Callable[[Node], tuple[str, str]]) -> dict[str, Answer]:
        """Run a command on nodes side by side; bastions first, for the others are reached through them.

        :param command: node -> (command for its shell, text for its standard input).
        :returns: answers by node.
        """
        bastions = {bastion.name: bastion for node in nodes if (bastion := self.bastion_of(node))}
        answers: dict[str, Answer] = {}
        for name, bastion in bastions.items():
            if name not in self._jumps:
                answer = self.one(bastion, *command(bastion))
                answers[name] = answer
                self._jumps[name] = answer.user
        rest = [node for node in nodes if node.name not in answers]
        with ThreadPoolExecutor(max(len(rest), 1)) as pool:
            found = pool.map(lambda node: self.one(node, *command(node)), rest)
            answers |= {node.name: answer for node, answer in zip(rest, found, strict=True)}
        return {node.name: answers[node.name] for node in nodes}

    def one(self, node: Node, command: str, text: str) -> Answer:
        """Run a command as the automation account or, where that has no login yet, as the owner's."""
        bastion = self.bastion_of(node)
        if bastion and not self._jumps.get(bastion.name):
            return Answer(trouble=Trouble.BASTION, err=bastion.name)
        if node.name not in self.keys and (refused := self._unknown(node)):
            return refused
        users = [self.owner, AUTOMATION]
        if node.name not in ssh_access.unknown(self.topology, self.places):
            users.reverse()
        if not self.places.automation_key.exists():
            users.remove(AUTOMATION)
        answer = Answer(trouble=Trouble.NO_LOGIN)
        for user in users:
            answer = self.run(node, user, command, text)
            if answer.trouble is not Trouble.NO_LOGIN:
                break
        return answer

    def _unknown(self, node: Node) -> Answer | None:
        """Ask for the key that the host offers; None, and it is believed, if it is the one whose fingerprint was given."""
        scratch = self.scratch / f"offered.{node.name}"
        done = self._ssh(node, self.owner, "true", "", [
            "-o", f"UserKnownHostsFile={scratch}", "-o", "StrictHostKeyChecking=accept-new", "-o", "PreferredAuthentications=none",
        ])  # fmt: skip
        lines = scratch.read_text().split() if scratch.exists() else []
        if len(lines) < 3:
            return Answer(trouble=Trouble.UNREACHABLE, err=_last(done.stderr))
        offered = " ".join(lines[1:3])
        given = self.topology.env.addresses.get(node.name)
        wanted = given.fingerprint if given else None
        if wanted and wanted != host_keys.fingerprint(offered):
            return Answer(
                trouble=Trouble.KEY_WRONG, offered=offered, err=f"addresses.{node.name}.fingerprint says {wanted}"
            )
        if not wanted:
            return Answer(trouble=Trouble.KEY_UNKNOWN, offered=offered)
        self.pinned[node.name] = self.keys[node.name] = offered
        return None

    def run(self, node: Node, user: str, command: str, text: str) -> Answer:
        """Run a command as a certain account."""
        done = self._ssh(node, user, command, text, [])
        if done.returncode != _SSH_FAILED:
            return Answer(user, done.returncode, _plain(done.stdout), _plain(done.stderr))
        error = done.stderr
        if "HOST IDENTIFICATION HAS CHANGED" in error or "Host key verification failed" in error:
            return Answer(
                trouble=Trouble.KEY_WRONG,
                err=f"it is not the one in known_hosts, {host_keys.fingerprint(self.keys[node.name])}",
            )
        if "Permission denied" in error or "Too many authentication failures" in error:
            return Answer(user, trouble=Trouble.NO_LOGIN, err=_last(error))
        return Answer(trouble=Trouble.UNREACHABLE, err=_last(error))

    def _ssh(
        self, node: Node, user: str, command: str, text: str, options: list[str]
    ) -> subprocess.CompletedProcess[str]:
        config = self._config(node, user)
        words = ["ssh", "-F", str(config), *options, f"{node.name}", "--", command]
        try:
            return subprocess.run(
                words,
                input=text,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(words, _SSH_FAILED, "", f"no answer within {COMMAND_SECONDS} s")

    def _config(self, node: Node, user: str) -> Path:
        """Client configuration for one node and its bastion, written anew: the bastion's user may have changed."""
        bastion = self.bastion_of(node)
        hops = [(node, user), *([(bastion, self._jumps[bastion.name])] if bastion else [])]
        lines = []
        for hop, account in hops:
            lines += [
                f"Host {hop.name}",
                f"  HostName {hop.address}",
                f"  HostKeyAlias {hop.name}",
                f"  User {account}",
            ]
            lines += [f"  ProxyJump {bastion.name}"] if bastion and hop is node else []
            lines += self._identity(account)
        known = self.scratch / f"known_hosts.{node.name}.{user}"
        known.write_text("".join(f"{name} {key}\n" for name, key in self.keys.items()))
        lines += [
            "Host *",
            "  BatchMode yes",
            f"  ConnectTimeout {CONNECT_SECONDS}",
            f"  HostKeyAlgorithms {host_keys.KIND}",
            f"  UserKnownHostsFile {known}",
            "  GlobalKnownHostsFile /dev/null",
            "  StrictHostKeyChecking yes",
            "  PasswordAuthentication no",
            "  ControlMaster no",
            "  ControlPath none",
            "  LogLevel ERROR",
        ]
        file = self.scratch / f"config.{node.name}.{user}"
        file.write_text("\n".join(lines) + "\n")
        return file

    def _identity(self, account: str) -> list[str]:
        key = self.topology.env.existing.key
        if account == AUTOMATION:
            return [f"  IdentityFile {self.places.automation_key}", "  IdentitiesOnly yes"]
        return [f"  IdentityFile {Path(key).expanduser()}", "  IdentitiesOnly yes"] if key else []


@contextmanager
def ways(topology: Topology, places: Places, folder: Path) -> Iterator[Ways]:
    """Ways to all nodes. ``folder``: of environment.yaml. Nothing is kept; keys with a given fingerprint are believed at once."""
    with tempfile.TemporaryDirectory(prefix="jinku-") as scratch:
        yield Ways(topology, places, Path(scratch), host_keys.read(folder, topology))


def _plain(text: str) -> str:
    """Without what would move a terminal's cursor or change its colours: a host that is not ours yet may say anything."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text[:100_000])


def _last(text: str) -> str:
    """The last line that ssh said."""
    lines = [line.strip() for line in _plain(text).strip().splitlines() if line.strip()]
    return lines[-1] if lines else "ssh failed without a word"
