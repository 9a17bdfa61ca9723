# SPDX-License-Identifier: Apache-2.0
"""Where data matters the vault opens by the operators' shares, after each start; the lab's key on the host is not there."""

import json

import pytest
from vault_world import World

from jinku.vault import VaultError, configure, initialise, manager

pytestmark = pytest.mark.openbao
SEAL = "shamir"


def test_three_shares_open_it_and_two_do_not(vault: World) -> None:
    initialise(vault.fleet, vault.door)
    with manager(vault.fleet, vault.door) as client:
        configure(vault.fleet, client)
        assert configure(vault.fleet, client) == []
    vault.stop()
    vault.start()
    with pytest.raises(VaultError, match="sealed; the operators open it"):
        vault.door.wait_until_active(0)
    client = vault.door.client()
    shares = json.loads((vault.fleet.state / "vault/recovery.json").read_text())["shares"]
    for share, sealed in zip(shares[:3], (True, True, False), strict=True):
        assert client.adapter.put("/v1/sys/unseal", json={"key": share})["sealed"] is sealed
    assert vault.door.wait_until_active(20)["sealed"] is False
    assert initialise(vault.fleet, vault.door) == []
