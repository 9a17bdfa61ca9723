# SPDX-License-Identifier: Apache-2.0
"""Package updates that roll through the hosts, one at a time: what waits, whether all is well, what a host changed, and where the roll stops.

Nothing is remembered here: a host itself says what is still to be done (hardening/updates, ``jinku-updates``), so the same
command goes on after whatever stopped the one before.
"""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from jinku import status
from jinku.model import Node, Topology
from jinku.places import Places

PROGRAM = "/usr/local/sbin/jinku-updates"
#: A host is well again within this time, or the roll stops: a certificate, a standby and the CRM's workers need some of it.
WELL_SECONDS = 300
#: Before the first host: long enough for a timer's job that runs just now, seconds.
FIRST_LOOK_SECONDS = 30
_AGAIN_SECONDS = 5
#: So many looks in a row must find all well: a service that starts, dies and starts again looks well in between.
_GOOD_LOOKS = 2
_CONNECT_SECONDS = 5
_LOOK_SECONDS = 300
#: How many hosts fetch their lists at the same time: the mirror of a lab shares its machine with all of them.
_AT_ONCE = 4

# Beyond a port that listens: the CRM and its database answer, and the page comes through the edge. No name is verified: this asks who is there.
_PAGE = (
    "import ssl, urllib.request as u; c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE;"
    ' u.urlopen(u.Request("https://{address}/", headers={{"Host": "{name}"}}), timeout=8, context=c)'
)
_ANSWERS = {"crm": "sudo -n jinku-crm health >/dev/null", "edge": f"python3 -c '{_PAGE}'"}


class RefusedError(Exception):
    """The roll did not begin, and touched nothing; the text says why."""


class StoppedError(Exception):
    """The roll stopped at a host; the text says at which, what was changed there, and the way back."""


@dataclass(frozen=True)
class Package:
    """A package that waits, or one that was changed. ``old`` is "" where it comes anew; ``security``: the security archive has it."""

    name: str
    old: str
    new: str
    security: bool = False

    def __str__(self) -> str:
        """For people: both versions."""
        return f"{self.name} {self.old or '(new)'} -> {self.new or '(gone)'}"


def _for_security(packages: Sequence[Package]) -> int:
    return sum(package.security for package in packages)


@dataclass(frozen=True)
class Waiting:
    """What is to be done on a host.

    ``unfinished``: packages that dpkg began; ``restart``: units that run old code;
    ``reboot``: why only a restart of the machine would end it; ``unsettled``: a roll was stopped before the integrity check took it in;
    ``held``: names of packages on hold; ``kept``: those that wait, and that a roll leaves as they are for what is on hold;
    ``error``: why the host does not say.
    """

    node: str
    packages: tuple[Package, ...] = ()
    unfinished: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    reboot: tuple[str, ...] = ()
    unsettled: bool = False
    held: tuple[str, ...] = ()
    kept: tuple[Package, ...] = ()
    error: str = ""

    @property
    def work(self) -> bool:
        """Whether the roll has something to do here; a restart of the machine alone is none, for only the environment may allow it."""
        return bool(self.packages or self.unfinished or self.restart or self.unsettled)

    def __str__(self) -> str:
        """For people, in one line."""
        security = _for_security(self.packages)
        told = [f"{len(self.packages)} to upgrade, {security} of them for security"] if self.packages else []
        told += [f"to be finished: {', '.join(self.unfinished)}"] if self.unfinished else []
        told += [f"run old code: {', '.join(self.restart)}"] if self.restart else []
        told += [f"should be restarted as a machine: {'; '.join(self.reboot)}"] if self.reboot else []
        told += ["the integrity check has not taken in the last roll"] if self.unsettled else []
        told += [f"{len(self.kept)} kept back, {_for_security(self.kept)} of them for security"] if self.kept else []
        return "; ".join(told) or "nothing to do"


@dataclass
class Done:
    """What came of one host. ``reboot``: why it should restart still."""

    node: str
    changed: tuple[Package, ...] = ()
    seconds: float = 0.0
    reboot: tuple[str, ...] = ()
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """For the journal."""
        return asdict(self) | {"changed": [str(package) for package in self.changed], "seconds": round(self.seconds, 1)}


@dataclass(frozen=True)
class Hands:
    """What the roll does to the world. ``look``: what waits, by the archive as it is now (``fresh``) or as the host knew it; ``well``: what is
    not, a line each, within so many seconds; ``versions``: of every package on a node, None when it cannot be asked; ``change``: upgrade a node,
    and "" or what failed.
    """

    look: Callable[[Sequence[Node], bool], list[Waiting]]
    well: Callable[[float], list[str]]
    versions: Callable[[Node], dict[str, str] | None]
    change: Callable[[Node], str]


def parse(node: str, output: str) -> Waiting:
    """What ``jinku-updates look`` printed on a node."""
    try:
        told = json.loads(output)
        told = {"held": (), "kept": (), **told}  # a host that no `up` of this version has met does not say them
        packages, kept = (
            tuple(Package(one["name"], one["old"], one["new"], bool(one["security"])) for one in told[key])
            for key in ("packages", "kept")
        )
        unfinished, restart, reboot, held = (
            tuple(map(str, told[key])) for key in ("unfinished", "restart", "reboot", "held")
        )
        return Waiting(node, packages, unfinished, restart, reboot, bool(told["unsettled"]), held, kept)
    except (ValueError, KeyError, TypeError):
        return Waiting(node, error=f"says what cannot be understood: {output.strip()[:80]!r}")


def difference(before: dict[str, str], after: dict[str, str]) -> tuple[Package, ...]:
    """Packages whose versions differ, by name."""
    names = sorted(before.keys() | after.keys())
    return tuple(
        Package(name, before.get(name, ""), after.get(name, ""))
        for name in names
        if before.get(name) != after.get(name)
    )


def way_back(node: str, packages: Sequence[Package]) -> str:
    """The command that installs the versions from before; "" where nothing had one."""
    wanted = " ".join(f"{package.name}={package.old}" for package in packages if package.old)
    return f"jinku ssh {node} -- sudo apt-get install --allow-downgrades {wanted}" if wanted else ""


def on_hold(waiting: Waiting, people: Sequence[str]) -> str:
    """What is kept back on a host, and the command that releases it. ``people``: names of those who may there, beside who runs Jinku."""
    kept = ", ".join(f"{package}{' (security)' if package.security else ''}" for package in waiting.kept)
    who = " or ".join([*people, "whoever runs jinku"])
    command = f"jinku ssh {waiting.node} -- sudo apt-mark unhold {' '.join(waiting.held)}"
    return (
        f"{waiting.node}: on hold: {', '.join(waiting.held)}; kept back by that: {kept or 'nothing yet'}; "
        f"to be released by {who}: {command}"
    )


@dataclass
class Roll:
    """A roll through ``order``; ``done`` holds what was done so far, also after it stopped. ``reboot``: machines may be restarted.

    ``holding``: hosts with packages on hold, which the roll leaves as they are.
    """

    order: Sequence[Node]
    hands: Hands
    tell: Callable[[str], None]
    reboot: bool = False
    done: list[Done] = field(default_factory=list)
    holding: list[Waiting] = field(default_factory=list)

    def waiting(self) -> list[tuple[Node, Waiting]]:
        """Hosts with something to do, in their order. :raises RefusedError: not everything is well, or a host does not say what waits."""
        if wrong := self.hands.well(FIRST_LOOK_SECONDS):
            raise RefusedError(_lines("not everything is well; nothing was touched:", wrong))
        told = self.hands.look(self.order, True)
        if mute := [f"{one.node}: {one.error}" for one in told if one.error]:
            raise RefusedError(_lines("these hosts do not say what waits; nothing was touched:", mute))
        self.holding = [one for one in told if one.held]
        pairs = zip(self.order, told, strict=True)
        return [(node, one) for node, one in pairs if one.work or (self.reboot and one.reboot)]

    def host(self, node: Node, waiting: Waiting, rest: Sequence[Node]) -> Done:
        """Update one host, and wait until everything is well again. ``rest``: those whose turn has not come.

        :raises StoppedError: it failed, or did not become well.
        """
        begun, done = time.monotonic(), Done(node.name)
        self.done.append(done)
        done.error = "was interrupted"
        before = self.hands.versions(node)
        if before is None:
            done.error = "cannot be reached"
            raise StoppedError(_stopped(done, waiting.packages, rest, known=True))
        done.error = self.hands.change(node)
        wrong = [] if done.error else self.hands.well(WELL_SECONDS)
        after = self.hands.versions(node)
        done.changed = difference(before, after or before)
        done.seconds = time.monotonic() - begun
        if wrong:
            done.error = f"not everything became well within {WELL_SECONDS} s: {'; '.join(wrong)}"
        if done.error:
            raise StoppedError(_stopped(done, waiting.packages, rest, known=after is not None))
        for package in done.changed:
            self.tell(f"{node.name}: {package}")
        (now,) = self.hands.look([node], False)
        done.reboot = now.reboot
        if now.work or now.reboot:
            self.tell(f"{node.name}: left as it is: {now}")
        return done


def _lines(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _stopped(done: Done, planned: Sequence[Package], rest: Sequence[Node], *, known: bool) -> str:
    changed = [f"changed on {done.node}: {', '.join(map(str, done.changed)) or 'no package'}"]
    if not known:
        changed = [f"{done.node} does not say which packages were changed; were to be: {', '.join(map(str, planned))}"]
    back = way_back(done.node, done.changed if known else planned)
    untouched = f"not touched: {', '.join(node.name for node in rest) or 'none was left'}"
    more = [f"the way back: {back}"] if back else []
    again = "docs/manual/updates says how to go on; the same command again begins with this host"
    return _lines(f"{done.node}: {done.error}; the roll stopped there", [*changed, untouched, *more, again])


def _ssh(places: Places, node: Node, command: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a shell command on a node; exit code 255: it does not answer."""
    options = ["-o", f"ConnectTimeout={_CONNECT_SECONDS}", "-o", "BatchMode=yes"]
    words = ["ssh", "-F", str(places.ssh_config), *options, node.name, "--", command]
    try:
        return subprocess.run(
            words, capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 255, "", f"no answer within {seconds:.0f} s")


def look(places: Places, nodes: Sequence[Node], *, fresh: bool) -> list[Waiting]:
    """Ask nodes what waits; ``fresh``: after they fetched the lists of packages, which is all that this changes."""

    def one(node: Node) -> Waiting:
        done = _ssh(places, node, f"sudo -n {PROGRAM} {'look' if fresh else 'waiting'}", _LOOK_SECONDS)
        if done.returncode == 0:
            return parse(node.name, done.stdout)
        error = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        unknown = "command not found" in error
        return Waiting(node.name, error=f"{PROGRAM}: is missing; `jinku up` ships it" if unknown else error)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(one, nodes))


def versions(places: Places, node: Node) -> dict[str, str] | None:
    """Version of every installed package of a node; None when it does not answer."""
    done = _ssh(places, node, "dpkg-query -W -f '${binary:Package} ${Version}\\n'", _LOOK_SECONDS)
    if done.returncode:
        return None
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line.rstrip())


def _unwell(topology: Topology, places: Places) -> list[str]:
    nodes = status.look(topology, places)
    wrong = [f"{node.name}: {', '.join([node.state, *node.failed_units])}" for node in nodes if not node.healthy]
    if len(leading := status.primaries(nodes)) > 1:
        wrong.append(f"{' and '.join(leading)}: the database is a primary on each")
    if wrong:
        return wrong
    asked = [(node, tier) for tier in _ANSWERS for node in topology.nodes_of(tier)]

    def answer(one: tuple[Node, str]) -> str:
        node, tier = one
        command = _ANSWERS[tier].format(address=node.address, name=next(iter(node.aliases), node.fqdn))
        done = _ssh(places, node, command, status.TIMEOUT_SECONDS)
        return (
            f"{node.name}: {tier} does not answer: {(done.stderr.strip().splitlines() or [''])[-1]}"
            if done.returncode
            else ""
        )

    with ThreadPoolExecutor(max(len(asked), 1)) as pool:
        return [text for text in pool.map(answer, asked) if text]


def well(topology: Topology, places: Places, seconds: float, tell: Callable[[str], None]) -> list[str]:
    """What is not well after at most so many seconds, a line each; [] as soon as all is, twice in a row. ``tell``: told once of what is waited for."""
    end, told, good = time.monotonic() + seconds, False, 0
    while good < _GOOD_LOOKS:
        if good or told:
            time.sleep(_AGAIN_SECONDS)
        wrong = _unwell(topology, places)
        good = 0 if wrong else good + 1
        if wrong and time.monotonic() > end:
            return wrong
        if wrong and not told:
            tell(f"waits at most {seconds:.0f} s for {'; '.join(wrong)}")
            told = True
    return []


def primaries(topology: Topology, places: Places) -> list[str]:
    """Names of the nodes whose database takes writes."""
    return status.primaries(status.look(topology, places))
