# SPDX-License-Identifier: Apache-2.0
"""The databases of the two sites change places, in order and after a death, while a client writes. Lab only."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jinku import replication
from jinku.model import Topology, load_environment
from jinku.model.topology import SERVICES
from jinku.places import Places
from stacks.provider.lab import hosts

ENVIRONMENT = load_environment(os.environ.get("JINKU_ENV", "lab"))
TOPOLOGY = Topology.of(ENVIRONMENT)
PLACES = Places(ENVIRONMENT.name)
WRITER = Path(__file__).with_name("writer.py")
PSQL = "sudo runuser -u postgres -- psql -XAtq -d crm -c"
#: Until a host that was switched on is reached by SSH and its database has decided what it is.
START_SECONDS = 90
#: `jinku status` while half of the hosts are dead: each is given up after 15 s, all at the same time.
STATUS_SECONDS = 30

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(ENVIRONMENT.backend != "lab", reason="only the lab's hosts have a switch that a test may touch"),
    pytest.mark.skipif(
        len({node.site for node in TOPOLOGY.nodes_of("postgres")}) < 2, reason="no database at another site"
    ),
]


def jinku(*words: str, code: int = 0) -> str:
    """Run a verb on the environment; what it printed."""
    command = [str(Path(sys.executable).with_name("jinku")), "--env", os.environ.get("JINKU_ENV", "lab"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def on(node: str, command: str) -> str:
    done = subprocess.run(
        ["ssh", "-F", str(PLACES.ssh_config), node, command], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def database(site: str) -> str:
    return next(node.name for node in TOPOLOGY.nodes_of("postgres") if node.site == site)


class Written:
    """What came of a client's writing, filled in at the end of the block."""

    acknowledged: list[tuple[int, float]]
    gap: float

    def lost(self, node: str) -> tuple[int, float]:
        """How many acknowledged rows are not there on ``node``, and over how many seconds they were written."""
        there = {int(line) for line in on(node, f"{PSQL} 'TABLE jinku_drill'").split()}
        times = [at for number, at in self.acknowledged if number not in there]
        return len(times), (max(times) - min(times) if times else 0.0)


@contextmanager
def client() -> Iterator[Written]:
    """A client on the CRM's host, with the CRM's own account and password file, writes while the block runs."""
    names = ",".join(node.fqdn for node in TOPOLOGY.nodes_of("postgres"))
    files = "sslrootcert=/etc/jinku/tls/ca.pem sslcert=/etc/jinku/tls/host.pem sslkey=/etc/jinku/tls/host.key"
    at = f"host={names} port={SERVICES['postgres'].port} dbname=crm user=crm passfile=/etc/jinku/crm/pgpass"
    way = f"{at} target_session_attrs=read-write sslmode=verify-full {files} connect_timeout=2 tcp_user_timeout=3000"
    source = base64.b64encode(WRITER.read_bytes()).decode()
    program = f"import base64; exec(base64.b64decode('{source}'))"
    account = "sudo runuser -u tryton -g tryton -G jinku-tls --"
    crm = TOPOLOGY.nodes_of("crm")[0].name
    command = ["ssh", "-F", str(PLACES.ssh_config), crm, f'{account} python3 -c "{program}" "{way}"']
    written = Written()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().strip() == "writes"
        time.sleep(2)
        try:
            yield written
        finally:
            time.sleep(2)
            said: dict[str, Any] = json.loads(process.communicate("", timeout=60)[0])
    written.acknowledged, written.gap = [(number, at) for number, at in said["acknowledged"]], said["gap"]


def state(node: str) -> dict[str, Any]:
    done = replication.ask(PLACES, TOPOLOGY.node(node), "state", timeout=15)
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found


def switched_on(names: list[str]) -> None:
    """Switch nodes on, and wait until each is reached and its database, if any, has decided what it is."""

    async def every() -> None:
        await asyncio.gather(*(hosts.start_node(ENVIRONMENT.name, name) for name in names))

    asyncio.run(every())
    deadline = time.monotonic() + START_SECONDS
    for name in names:
        decided = '[ -z "$(systemctl show -P Job postgresql@17-main.service)" ]' if name.startswith("db") else "true"
        while subprocess.run(
            [
                "ssh",
                "-F",
                str(PLACES.ssh_config),
                "-o",
                "ConnectTimeout=5",
                name,
                f"systemctl is-system-running | grep -qv starting && {decided}",
            ],
            check=False,
            capture_output=True,
        ).returncode:
            assert time.monotonic() < deadline, f"{name} is not reached {START_SECONDS} s after it was switched on"
            time.sleep(1)


def test_in_order_and_back_nothing_is_lost() -> None:
    a, b = database("a"), database("b")
    for site, node in (("b", b), ("a", a)):
        with client() as written:
            jinku("promote", site, "--yes")
        count, _ = written.lost(node)
        print(f"in order to site {site}: no write for {written.gap:.1f} s, {count} of {len(written.acknowledged)} lost")
        assert count == 0, f"{count} acknowledged rows are not at site {site}"
        assert state(node)["role"] == "primary"
    assert "already" in jinku("promote", "a", "--yes")


def test_a_dead_primary_costs_at_most_the_objective_and_never_comes_back_as_a_second_one() -> None:
    a, b = database("a"), database("b")
    allowed = ENVIRONMENT.objectives.rpo_minutes * 60
    with client() as written:
        asyncio.run(hosts.stop(hosts.load(ENVIRONMENT.name, a), seconds=0))
        died = time.monotonic()
        try:
            assert "--lost" in jinku("promote", "b", "--yes", code=1)
            jinku("promote", "b", "--lost", "--yes")
            print(f"promoted {time.monotonic() - died:.1f} s after the death")
        finally:
            switched_on([a])
    count, seconds = written.lost(b)
    print(f"after a death: no write for {written.gap:.1f} s, {count} rows of {seconds:.2f} s lost")
    assert seconds <= allowed
    assert written.acknowledged[-1][1] - written.acknowledged[0][1] > written.gap, "the client never wrote again"
    old = state(a)
    assert (old["role"], old["running"]) in {("primary", False), ("fenced", False)}, f"a second primary: {old}"
    assert "jinku rejoin" in on(a, "sudo jinku-postgres guard 2>&1 || true")
    assert "moved aside" in jinku("rejoin", "a", "--yes")
    with client() as written:
        jinku("promote", "a", "--yes")
    assert written.lost(a)[0] == 0
    on(a, f"{PSQL} 'DROP TABLE jinku_drill'")
    on(a, "sudo find /var/lib/postgresql/17 -maxdepth 1 -name 'main.*' -exec rm -r {} +")


def test_site_b_answers_while_site_a_is_dead() -> None:
    names = [node.name for node in TOPOLOGY.nodes if node.site == "a"]

    async def every() -> None:
        await asyncio.gather(*(hosts.stop(hosts.load(ENVIRONMENT.name, name), seconds=0) for name in names))

    asyncio.run(every())
    try:
        begun = time.monotonic()
        said = jinku("status", code=1)
        assert time.monotonic() - begun < STATUS_SECONDS
        assert f"site a: 0 of {len(names)} nodes answer" in said
        assert "jinku promote b" in said
        assert all(node.name in said for node in TOPOLOGY.nodes)
        assert "--lost" in jinku("promote", "b", "--yes", code=1)
    finally:
        switched_on(names)
    assert state(database("a"))["role"] == "primary"
