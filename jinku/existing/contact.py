# SPDX-License-Identifier: Apache-2.0
"""The first contact with hosts that exist: known keys, an account for Jinku, disks. The owner's own way in stays.

An account with the environment's own key is made through the owner's account and its sudo, then tried; if it gives no
login, it is removed again. What shuts the owner out later are the roles, and those take themselves back (hardening/ssh,
hardening/firewall) when the automation account does not come back.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jinku import ssh_access
from jinku.existing import host_keys
from jinku.existing.ways import Answer, Trouble, Ways, ways
from jinku.model import Node, Topology
from jinku.model.inventory import AUTOMATION
from jinku.places import Places

_ADOPT = Path(__file__).parent / "adopt.sh"

#: Asked with the node and the fingerprint it offers: is that the host's own?
Confirm = Callable[[Node, str], bool]


@dataclass(frozen=True)
class Contact:
    """What came of one host. ``done``: what was made, '' parts left out; ``error``: why not, '' when it is fine."""

    node: str
    done: tuple[str, ...] = ()
    error: str = ""


def confirm_keys(
    topology: Topology, places: Places, folder: Path, nodes: list[Node], confirm: Confirm | None
) -> list[str]:
    """Learn the keys of hosts, the bastions' first, for the others are reached through them; known_hosts keeps them.

    :param folder: of environment.yaml.
    :param confirm: asked for each key whose fingerprint is not given; None: nobody is asked.
    :returns: names of the nodes whose key was noted down now.
    """
    with ways(topology, places, folder) as found:
        noted: list[str] = []
        asked: set[str] = set()
        while True:
            answers = found.all([node for node in nodes if node.name not in found.keys], lambda _node: ("true", ""))
            offers = {
                node: answer.offered
                for node in nodes
                if (answer := answers.get(node.name))
                and answer.trouble is Trouble.KEY_UNKNOWN
                and node.name not in asked
            }
            new = {}
            for node, offered in offers.items():
                asked.add(node.name)
                if confirm and confirm(node, host_keys.fingerprint(offered)):
                    new[node.name] = offered
            found.believe(new)
            new |= {name: key for name, key in found.pinned.items() if name not in noted}
            host_keys.record(folder, new)
            noted += new
            if not new:
                return noted


def make(topology: Topology, places: Places, folder: Path, nodes: list[Node]) -> list[Contact]:
    """Get on to hosts whose keys are known.

    :param folder: of environment.yaml.
    :returns: what came of each host, in the order of ``nodes``.
    """
    if not nodes:
        return []
    ssh_access.ensure_automation_key(places)
    with ways(topology, places, folder) as found:
        answers = found.all(nodes, lambda node: (_command(found, node, "do"), _ADOPT.read_text()))
        return [_outcome(found, node, answers[node.name]) for node in nodes]


def retire(topology: Topology, places: Places, folder: Path, nodes: list[Node]) -> list[Contact]:
    """Remove the owner's account from hosts on which Jinku has its own; the account's files are put aside.

    :returns: what came of each host; an error where Jinku has no login yet, so that nobody is locked out.
    """
    with ways(topology, places, folder) as found:
        words = shlex.join(["sh", "-s", "--", "retire", found.owner, "", ""])
        done = []
        answers = found.all(nodes, lambda _node: ("true", ""))
        for node in nodes:
            answer = answers[node.name]
            if answer.user == AUTOMATION and not answer.trouble:
                answer = found.run(node, AUTOMATION, f"sudo -n {words}", _ADOPT.read_text())
            elif not answer.trouble:
                answer = Answer(AUTOMATION, 1, err="has no login yet; `jinku up` first")
            bad = answer.trouble or answer.code
            done.append(Contact(node.name, () if bad else tuple(answer.out.splitlines()), _why(answer) if bad else ""))
        return done


def _why(answer: Answer) -> str:
    if answer.trouble:
        return f"{answer.trouble.value}: {answer.err or host_keys.fingerprint(answer.offered)}"
    return f"{answer.user}: {(answer.err or answer.out).strip()[-300:]}"


def _command(found: Ways, node: Node, verb: str) -> str:
    disks = found.topology.env.existing.disks
    told = "\n".join(
        f"{one.name} {one.mount} {disks[one.name].device} {'yes' if disks[one.name].format else 'no'}"
        for one in node.volumes
        if one.name in disks
    )
    key = ssh_access.ensure_automation_key(found.places)
    words = shlex.join(["sh", "-s", "--", verb, AUTOMATION, key, told])
    return f'if [ "$(id -u)" = 0 ]; then {words}; else sudo -n {words}; fi'


def _outcome(found: Ways, node: Node, answer: Answer) -> Contact:
    """Try the new account; take back what gives no login."""
    if answer.trouble or answer.code:
        return Contact(node.name, error=_why(answer))
    made = tuple(answer.out.splitlines())
    if answer.user == AUTOMATION:
        return Contact(node.name, made)
    tried = found.run(node, AUTOMATION, "sudo -n true", "")
    if tried.trouble or tried.code:
        found.run(node, answer.user, _command(found, node, "undo"), _ADOPT.read_text())
        why = tried.err.strip() or "sudo refuses it"
        return Contact(node.name, error=f"the new account {AUTOMATION} gives no login ({why}) and is removed again")
    return Contact(node.name, made)
