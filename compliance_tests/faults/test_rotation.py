# SPDX-License-Identifier: Apache-2.0
"""Certificates and the database password are replaced while users work, and no request fails. Runs with ``-m fault``."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from crm_client import Crm
from load import Load

from jinku.evidence.fleet import Fleet as Hosts
from jinku.model import Topology
from jinku.model.topology import SERVICES
from jinku.places import Places
from jinku.vault import Fleet, manager, through_the_bastion

Account = Callable[[str], None]

pytestmark = pytest.mark.fault
A_SECOND = 5.0
BEFORE_S, BETWEEN_S, AFTER_S = 2, 8, 14
TIMES = 3
NEW_LEAF = "rm -f /etc/jinku/tls/bundle.pem && systemctl restart jinku-agent.service"
SERIAL = "openssl x509 -in /etc/jinku/tls/host.pem -noout -serial"
SHOWN = "openssl s_client -connect {address}:{port} {more} </dev/null 2>/dev/null | openssl x509 -noout -serial"
HOW = {"edge": ("edge_https", ""), "crm": ("crm", ""), "postgres": ("postgres", "-starttls postgres")}


def worked_through(crm: Crm, change: Callable[[], None], times: int = TIMES) -> Load:
    """The load of a user who reads and writes nothing but asks the database each time, with the changes in it."""
    with Load(lambda: crm.call("model.res.user.get_preferences", True, {}), A_SECOND) as load:
        time.sleep(BEFORE_S)
        for _ in range(times):
            change()
            time.sleep(BETWEEN_S)
        time.sleep(AFTER_S - BETWEEN_S)
    assert load.count > A_SECOND * (BEFORE_S + AFTER_S) / 2, f"only {load.count} requests were made"
    return load


@pytest.mark.parametrize("tier", ["edge", "crm", "postgres"])
def test_a_new_certificate_goes_unnoticed(
    crm: Crm, account: Account, login: str, password: str, topology: Topology, fleet: Hosts, tier: str
) -> None:
    """The leaf of the edge, of the CRM, of the database is issued again, three times each: every request is answered, the last one shown."""
    node = topology.nodes_of(tier)[0]
    host = fleet.host(node.name)
    account("own")
    crm.login(login, password)
    serials = {host.check_output(f"{SERIAL} # before")}

    def renew() -> None:
        host.run_expect([0], f"{NEW_LEAF} # {len(serials)}")
        for second in range(40):
            seen = host.run(f"{SERIAL} # {len(serials)} {second}")
            if seen.rc == 0 and seen.stdout.strip() not in serials:
                serials.add(seen.stdout.strip())
                return
            time.sleep(0.5)

    load = worked_through(crm, renew)
    assert len(serials) == TIMES + 1, f"{len(serials) - 1} new certificates of {TIMES}"
    assert not load.failures, f"{len(load.failures)} of {load.count} requests failed: {load.failures[:5]}"
    service, more = HOW[tier]
    shown = SHOWN.format(address=node.address, port=SERVICES[service].port, more=more)
    assert host.check_output(f"{shown} # after") == host.check_output(f"{SERIAL} # after"), (
        "an earlier certificate is shown"
    )
    assert not host.file("/etc/jinku/tls/reload.failed").exists, "a hook failed"


def test_a_new_database_password_goes_unnoticed(
    crm: Crm, account: Account, login: str, password: str, topology: Topology, places: Places
) -> None:
    """The CRM's password at the database is rotated three times: every request is answered."""
    fleet = Fleet.of(topology, places)
    account("own")
    crm.login(login, password)
    with through_the_bastion(fleet) as door, manager(fleet, door) as vault:
        load = worked_through(crm, lambda: vault.write_data("database/rotate-role/crm", data={}))
    assert not load.failures, f"{len(load.failures)} of {load.count} requests failed: {load.failures[:5]}"
