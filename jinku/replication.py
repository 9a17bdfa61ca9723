# SPDX-License-Identifier: Apache-2.0
"""The pair of database servers at two sites: what each is, and how they change places. Asked of the hosts, by SSH.

Which server is the primary stands in the data of the servers alone (roles/postgres, ``jinku-postgres``); nothing is kept
here. So an interrupted change of places is finished by the same command, and a lost controller loses nothing.
"""

import json
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from jinku.model import Node, Topology
from jinku.places import Places

PROGRAM = "/usr/local/sbin/jinku-postgres"
#: A change of places in order waits for at most so much of the log, bytes.
MOST_BEHIND = 64 << 20
#: Younger than this, the heartbeat that a standby has says that the primary is alive, seconds.
ALIVE_SECONDS = 5.0
_CONNECT_SECONDS = 5
_LOOK_SECONDS = 15
_STEP_SECONDS = 150
_COPY_SECONDS = 6 * 3600
_FOLLOW_SECONDS = 45

Tell = Callable[[str], None]


class RefusedError(Exception):
    """The step is not taken; the text says why and what would be right."""


@dataclass(frozen=True)
class Server:
    """One server of the pair. ``found``: the document ``jinku/postgres/1``, {} when the host does not answer; then ``error``."""

    node: Node
    found: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def role(self) -> str:
        """none, fenced, standby or primary; unknown when the host does not answer, or cannot see its volume."""
        return str(self.found.get("role", "unknown"))

    @property
    def silence(self) -> str:
        """Why nobody knows what it is."""
        return self.error or "it answers, and what lies on its volume cannot be seen: the volume is shut"

    @property
    def running(self) -> bool:
        """Whether the server itself answers."""
        return bool(self.found.get("running"))

    @property
    def leads(self) -> bool:
        """Whether it is a primary that answers."""
        return self.role == "primary" and self.running

    @property
    def streams(self) -> bool:
        """Standby: whether it receives from a primary. Primary: whether a standby follows."""
        return self.running and bool(self.found.get("streaming"))

    @property
    def lag(self) -> float | None:
        """Age of the newest heartbeat that a standby has, seconds."""
        seconds = self.found.get("lag_seconds")
        return None if seconds is None else float(seconds)


def words(found: dict[str, Any]) -> str:
    """What a server is, for people, from its document."""
    role, timeline = str(found.get("role", "unknown")), found.get("timeline")
    if not found.get("running"):
        return f"{role}, does not run" if role != "none" else "no data"
    behind = f"{float(found['lag_seconds']):.1f} s" if found.get("lag_seconds") is not None else "?"
    bytes_ = f", {found['lag_bytes']} bytes" if found.get("lag_bytes") is not None else ""
    if role == "standby":
        return f"standby, {behind}{bytes_} behind" + ("" if found.get("streaming") else ", receives nothing")
    return f"{role}, timeline {timeline}" + (
        f", {'followed' if found.get('streaming') else 'NOT followed'}" if found.get("followers") else ""
    )


def ask(places: Places, node: Node, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run ``jinku-postgres`` on a node; exit code 255: the host does not answer (``stderr`` says how). ``timeout``: seconds."""
    options = ["-o", f"ConnectTimeout={_CONNECT_SECONDS}", "-o", "BatchMode=yes"]
    command = ["ssh", "-F", str(places.ssh_config), *options, node.name, "--", "sudo", "-n", PROGRAM, *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 255, "", f"no answer within {timeout:.0f} s")


def look(topology: Topology, places: Places) -> list[Server]:
    """What every server is; asked of all at the same time."""

    def one(node: Node) -> Server:
        done = ask(places, node, "state", timeout=_LOOK_SECONDS)
        if done.returncode == 0:
            try:
                return Server(node, json.loads(done.stdout))
            except ValueError:
                return Server(node, error=f"does not say what it is, but: {done.stdout.strip()[:80]!r}")
        return Server(node, error=(done.stderr.strip().splitlines() or ["no answer"])[-1])

    nodes = topology.nodes_of("postgres")
    with ThreadPoolExecutor(max(len(nodes), 1)) as pool:
        return list(pool.map(one, nodes))


def pair(topology: Topology, places: Places, site: str) -> tuple[Server, Server]:
    """The server of ``site`` and the other one. :raises RefusedError: there is no such pair."""
    servers = look(topology, places)
    here = [server for server in servers if server.node.site == site]
    there = [server for server in servers if server.node.site != site]
    if len(here) != 1 or len(there) != 1:
        names = ", ".join(f"{server.node.name} ({server.node.site})" for server in servers) or "none"
        raise RefusedError(f"site {site}: is not one of two sites with a database each; there are: {names}")
    return here[0], there[0]


def _step(places: Places, node: Node, *arguments: str, timeout: float = _STEP_SECONDS) -> str:
    done = ask(places, node, *arguments, timeout=timeout)
    if done.returncode:
        raise RefusedError(f"{node.name}: {' '.join(arguments)}: {(done.stderr.strip() or done.stdout.strip())}")
    return done.stdout.strip()


def promote(topology: Topology, places: Places, site: str, *, lost: bool, tell: Tell) -> bool:
    """Make the database of ``site`` the primary.

    In order where the other one can be stopped: nothing is lost. ``lost``: the other one is given up, with what it had not sent.
    :returns: whether anything changed. :raises RefusedError: nothing was promoted, or the other one does not follow; the text says which.
    """
    here, there = pair(topology, places, site)
    if here.leads and not there.leads:
        tell(f"{here.node.name}: is the primary already")
        unfinished = there.role == "standby" and not there.running
        if unfinished:
            _let_follow(topology, places, there, tell)
        return unfinished
    if here.role != "standby" or not here.running:
        raise RefusedError(
            f"{here.node.name}: {here.error or words(here.found)}; only a standby that runs can be promoted"
        )
    if there.role == "unknown":
        _must_be_dead(places, here, there, lost=lost, tell=tell)
        end = ""
    elif there.leads:
        end = _stop_in_order(places, here, there, tell)
    else:
        end = _stopped_already(places, here, there, lost=lost)
    arrives = end and not (there.role == "standby" and there.running)  # else it is here already, and nothing more comes
    try:
        _step(places, here.node, "promote", *([end] if arrives else []))
    except RefusedError as refused:
        _unless_promoted(places, here, there, refused, tell)
    tell(f"{here.node.name}: is the primary now")
    if there.role not in {"unknown", "none", "fenced"} and end:
        _let_follow(topology, places, there, tell)
    return True


def _unless_promoted(places: Places, here: Server, there: Server, refused: RefusedError, tell: Tell) -> None:
    """Go on when ``here`` was promoted and only its answer was lost; else make ``there`` the primary again, if it was stopped for this.

    :raises RefusedError: ``here`` is no primary, or does not say; then ``there`` stays down, or both might be one.
    """
    done = ask(places, here.node, "state", timeout=_LOOK_SECONDS)
    role = json.loads(done.stdout)["role"] if done.returncode == 0 else "unknown"
    if role == "primary":
        return
    if there.leads and role == "standby":
        tell(f"{there.node.name}: is made the primary again")
        _step(places, there.node, "undo")
    elif there.leads:
        raise RefusedError(
            f"{refused}; {here.node.name} does not say whether it is the primary now, so {there.node.name} stays stopped: the same command again"
            f" when {here.node.name} answers, or, when it is certainly dead, `jinku-postgres undo` on {there.node.name}"
        ) from refused
    raise refused


def _let_follow(topology: Topology, places: Places, there: Server, tell: Tell) -> None:
    _step(places, there.node, "follow")
    _wait_until_it_streams(topology, places, there.node)
    tell(f"{there.node.name}: follows it as a standby")


def _must_be_dead(places: Places, here: Server, there: Server, *, lost: bool, tell: Tell) -> None:
    """Fence: what cannot be stopped may be given up only when nothing speaks for its being alive."""
    if not lost:
        raise RefusedError(
            f"{there.node.name}: cannot be asked ({there.silence}), so it can neither be stopped nor be known to be dead; look at"
            " its site, and when it is certain: --lost, which gives up what it had not sent"
        )
    answer = json.loads(_step(places, here.node, "peers"))
    if any(one["primary"] for one in answer):
        raise RefusedError(
            f"{there.node.name}: is alive: it answers {here.node.name}; stop it, or wait until it can be reached"
        )
    for _ in range(6):
        state = json.loads(_step(places, here.node, "state"))
        if not (state.get("streaming") and float(state.get("lag_seconds") or 0) < ALIVE_SECONDS):
            break
        time.sleep(2)
    else:
        raise RefusedError(f"{there.node.name}: is alive: {here.node.name} still receives from it; stop it first")
    lag = state.get("lag_seconds")
    until = "nobody knows when" if lag is None else f"{float(lag):.0f} s ago"
    tell(f"{here.node.name}: has what {there.node.name} committed until {until}; the rest is given up")


def _stop_in_order(places: Places, here: Server, there: Server, tell: Tell) -> str:
    """Stop the primary after its last byte was sent. :returns: where its log ends."""
    if not here.streams:
        raise RefusedError(
            f"{there.node.name}: is alive, and {here.node.name} does not follow it; `jinku rejoin {here.node.site}` first"
        )
    behind = int(here.found.get("lag_bytes") or 0)
    if behind > MOST_BEHIND:
        raise RefusedError(f"{here.node.name}: is {behind} bytes behind; wait until it is less than {MOST_BEHIND}")
    tell(f"{there.node.name}: is stopped in order")
    end = json.loads(_step(places, there.node, "demote"))
    if end["cluster"] not in {"shut down", "shut down in recovery"}:
        _step(places, there.node, "undo")
        raise RefusedError(f"{there.node.name}: did not stop in order ({end['cluster']}); it is the primary again")
    return str(end["lsn"])


def _position(lsn: str) -> int:
    """Bytes before a place in the log, as PostgreSQL writes it (`16/B374D848`: pg_lsn)."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def _stopped_already(places: Places, here: Server, there: Server, *, lost: bool) -> str:
    """The other host answers, its server is no primary that runs. :returns: where its log ends, '' when it is given up."""
    if there.role in {"none", "fenced"}:
        return ""
    if there.running:
        # Two standbys, and nobody to bring either what it lacks: a `promote` was cut off before its last step.
        lsn = str(there.found["lsn"])
        if _position(str(here.found["lsn"])) >= _position(lsn):
            return lsn
        if lost:
            return ""
        raise RefusedError(
            f"{there.node.name}: is a standby, too, and has more ({lsn}) than {here.node.name} ({here.found['lsn']}): `jinku promote"
            f" {there.node.site}`, or --lost gives that up"
        )
    end = json.loads(_step(places, there.node, "demote"))
    if end["cluster"] in {"shut down", "shut down in recovery"}:
        return str(end["lsn"])
    if not lost:
        raise RefusedError(
            f"{there.node.name}: its server did not end in order ({end['cluster']}) and may hold what it had not sent; start it there"
            " (`jinku-postgres undo`), or --lost gives that up"
        )
    return ""


def rejoin(topology: Topology, places: Places, site: str, *, tell: Tell) -> bool:
    """Make the database of ``site`` a standby of the other one; what it alone holds is moved aside on its volume.

    :returns: whether anything changed. :raises RefusedError: nothing was touched.
    """
    here, there = pair(topology, places, site)
    if here.role == "unknown":
        raise RefusedError(f"{here.node.name}: {here.silence}; bring the host up, and open its volume, first")
    if not there.leads:
        raise RefusedError(f"{there.node.name}: {there.error or words(there.found)}; there must be a primary to follow")
    if here.leads and int(here.found["timeline"]) >= int(there.found["timeline"]):
        raise RefusedError(
            f"{here.node.name}: is the primary with the later data; `jinku rejoin {there.node.site}` is meant"
        )
    if here.role == "standby" and here.streams:
        tell(f"{here.node.name}: follows {there.node.name} already")
        return False
    for line in _step(places, here.node, "copy", timeout=_COPY_SECONDS).splitlines():
        tell(f"{here.node.name}: {line}")
    _wait_until_it_streams(topology, places, here.node)
    return True


def _wait_until_it_streams(topology: Topology, places: Places, node: Node) -> None:
    deadline = time.monotonic() + _FOLLOW_SECONDS
    while not any(
        server.node == node and server.role == "standby" and server.streams for server in look(topology, places)
    ):
        if time.monotonic() > deadline:
            raise RefusedError(
                f"{node.name}: does not follow within {_FOLLOW_SECONDS} s; `jinku rejoin {node.site}` makes a new copy"
            )
        time.sleep(1)
