# SPDX-License-Identifier: Apache-2.0
"""The edge under slow requests, through a renewal and a crash; log lines through an outage of the log tier. Runs with ``-m fault``."""

from __future__ import annotations

import secrets
import socket
import threading
import time

import pytest
from crm_client import Door
from testinfra.host import Host

from jinku.evidence.fleet import Fleet
from jinku.model import Topology

pytestmark = pytest.mark.fault
SLOW_S = 30  # seconds after which a request must have been given up that never ends
BACK_S = 20  # seconds after which a killed edge must serve again
ARRIVES_S = 90  # seconds after the return of the log tier


@pytest.fixture
def edge(topology: Topology, fleet: Fleet) -> Host:
    """The same edge, as root."""
    return fleet.host(topology.nodes_of("edge")[0].name)


def status(door: Door) -> int:
    """Status of the start page; 0 when there was no answer."""
    try:
        return door.request("GET", "/").status
    except OSError:
        return 0


def test_a_request_that_never_ends_is_given_up(door: Door) -> None:
    """Connections that send a header line every two seconds are closed in time, and meanwhile others are served."""
    slow = []
    for _ in range(20):
        plain = socket.create_connection((door.address, door.port), timeout=10)
        wrapped = door.context().wrap_socket(plain, server_hostname=door.name)
        wrapped.sendall(f"GET / HTTP/1.1\r\nHost: {door.name}\r\n".encode())
        slow.append(wrapped)
    began = time.monotonic()
    while slow and time.monotonic() - began < SLOW_S:
        assert status(door) == 200
        time.sleep(2)
        for wrapped in list(slow):
            try:
                wrapped.sendall(b"X-Slow: 1\r\n")
                wrapped.settimeout(0.01)
                if wrapped.recv(100):
                    slow.remove(wrapped)
            except TimeoutError:
                continue
            except OSError:
                slow.remove(wrapped)
    assert not slow, f"{len(slow)} of 20 slow requests are still waited for after {SLOW_S} s"


def test_a_renewal_drops_no_request(door: Door, edge: Host) -> None:
    """While the certificate hook runs three times, every request is answered."""
    seen: list[int] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            seen.append(status(door))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for number in range(3):
            edge.run_expect([0], f": renewal {number}; /etc/jinku/tls-reload.d/edge")
            time.sleep(1.5)
    finally:
        ended.set()
        asking.join()
    assert len(seen) > 10
    assert set(seen) == {200}, f"of {len(seen)} requests {len([one for one in seen if one != 200])} failed"


def test_a_killed_edge_comes_back_by_itself(door: Door, edge: Host) -> None:
    """After Apache and its children are killed, systemd brings it back."""
    assert status(door) == 200
    edge.run_expect([0], "systemctl kill --signal=KILL --kill-whom=all apache2.service")
    began = time.monotonic()
    while status(door) != 200:
        assert time.monotonic() - began < BACK_S, f"not back after {BACK_S} s"
        time.sleep(0.5)


def test_lines_of_an_outage_arrive_afterwards(topology: Topology, fleet: Fleet, edge: Host) -> None:
    """What is written while the log tier is down arrives when it is back, though the forwarder is killed meanwhile."""
    node, sender = topology.nodes_of("log")[0].name, topology.nodes_of("edge")[0].name
    log, mark = fleet.host(node), secrets.token_hex(8)
    log.run_expect([0], "systemctl stop rsyslog.service")
    try:
        time.sleep(2)
        edge.run_expect([0], f"for i in $(seq 20); do logger -t jinku-fault {mark}-$i; done")
        time.sleep(5)
        edge.run_expect([0], "systemctl kill --signal=KILL --kill-whom=main rsyslog.service")
    finally:
        log.run_expect([0], "systemctl start rsyslog.service")
    found = f"cat /var/log/remote/{sender}/*.log | grep -oE '{mark}-[0-9]+' | sort -u | wc -l"
    command = f"for i in $(seq {ARRIVES_S}); do [ $({found}) = 20 ] && exit 0; sleep 1; done; {found}; exit 1"
    done = log.run(command, timeout=ARRIVES_S + 20)
    assert done.rc == 0, f"{done.stdout.strip()} of 20 lines arrived"


def test_a_line_with_the_name_of_a_seal_does_not_reach_the_witness(topology: Topology, fleet: Fleet) -> None:
    """Any account of the log host may log under any name; one line that is no seal would break the chain for good."""
    log, witness = (fleet.host(topology.nodes_of(tier)[0].name) for tier in ("log", "witness"))
    mark = secrets.token_hex(8)
    log.run_expect(
        [0], f"runuser -u nobody -- logger -t jinku-seal {mark} && systemctl kill -s USR1 jinku-log-seal.service"
    )
    newest = log.check_output(
        f"sleep 2; : {mark}; journalctl -t jinku-seal _SYSTEMD_UNIT=jinku-log-seal.service -n 1 -o cat"
    )
    # The seal was logged after the line, on the same way: when it has come, the line would have.
    kept = "cat /var/lib/jinku-witness/*/*.log"
    come = f"for i in $(seq 30); do {kept} | grep -qF '{newest[:80]}' && exit 0; sleep 1; done; exit 1"
    witness.run_expect([0], come)
    witness.run_expect([1], f"{kept} | grep -F {mark}")
    witness.run_expect([0], f": {mark}; jinku-witness check /var/lib/jinku-witness 300")
