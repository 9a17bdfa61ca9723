# SPDX-License-Identifier: Apache-2.0
"""An attack, and people who go on working: passwords guessed in numbers, connections held open. Runs with ``-m fault``."""

from __future__ import annotations

import dataclasses
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable

import pytest
from crm_client import Crm, CrmError, Door, RefusedError

from jinku.model import Topology

Account = Callable[[str], None]

pytestmark = pytest.mark.fault
GUESSERS, GUESSES = 6, 10
PATIENCE_S = 3.0  # for a call of somebody who works, while others guess
HELD = 150


@pytest.fixture
def elsewhere(door: Door, topology: Topology) -> Door:
    """The same edge, reached from another address of this machine: its IPv6 one."""
    edge = topology.nodes_of("edge")[0]
    if edge.address6 is None:
        pytest.skip("the site has no IPv6, and this machine no second address")
    return dataclasses.replace(door, address=str(edge.address6))


def tried(crm: Crm, login: str, password: str, **more: str) -> int:
    """Status of a login: 200 when it opens a session."""
    try:
        crm.login(login, password, **more)
    except RefusedError as refusal:
        return refusal.status
    return int(http.client.OK)


def test_a_guesser_locks_a_name_for_strangers_not_for_its_person(
    crm: Crm, elsewhere: Door, account: Account, login: str, password: str
) -> None:
    """Five wrong passwords lock the name; its person still comes in with the browser that was used before."""
    account("own")
    crm.login(login, password)
    cookie = crm.call("model.res.user.device.renew", None, {})
    guesser = Crm(elsewhere, crm.database)
    assert [tried(guesser, login, f"Aa-wrong-{n}") for n in range(8)][-1] == http.client.TOO_MANY_REQUESTS
    assert tried(guesser, login, password) == http.client.TOO_MANY_REQUESTS, "a stranger with the right password"
    assert tried(Crm(crm.door, crm.database), login, password, device_cookie=cookie) == http.client.OK


def test_people_work_while_others_guess(crm: Crm, elsewhere: Door, account: Account, login: str, password: str) -> None:
    """Stuffing, as fast as the door takes it: the address is locked out, and every call of somebody at work is answered in time."""
    account("own")
    crm.login(login, password)
    seen: list[int] = []

    def guess(number: int) -> None:
        guesser = Crm(elsewhere, crm.database)
        for attempt in range(GUESSES):
            try:
                seen.append(tried(guesser, f"{login}-{number}-{attempt}", "Aa-12345678"))
            except (CrmError, OSError):
                seen.append(0)

    guessers = [threading.Thread(target=guess, args=(number,)) for number in range(GUESSERS)]
    for one in guessers:
        one.start()
    slowest = 0.0
    while any(one.is_alive() for one in guessers):
        began = time.monotonic()
        crm.call("model.res.user.get_preferences", True, {})
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < PATIENCE_S
    assert http.client.TOO_MANY_REQUESTS in seen[-GUESSERS:], seen
    assert http.client.OK not in seen
    assert tried(Crm(crm.door, crm.database), login, password) == http.client.OK, (
        "another address is locked out as well"
    )


def test_held_connections_of_one_address_leave_room_for_others(door: Door, elsewhere: Door) -> None:
    """A client that holds as many connections open as it gets is cut short, and the page comes at once for somebody else."""
    held: list[ssl.SSLSocket] = []
    for _ in range(HELD):
        try:
            plain = socket.create_connection((elsewhere.address, elsewhere.port), timeout=5)
            wrapped = elsewhere.context().wrap_socket(plain, server_hostname=elsewhere.name)
            wrapped.sendall(f"GET / HTTP/1.1\r\nHost: {elsewhere.name}\r\n".encode())
            held.append(wrapped)
        except OSError:
            continue
    try:
        assert len(held) < HELD, f"one address holds {len(held)} connections"
        began = time.monotonic()
        assert door.request("GET", "/").status == http.client.OK
        assert time.monotonic() - began < PATIENCE_S
    finally:
        for one in held:
            one.close()
