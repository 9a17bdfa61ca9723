# SPDX-License-Identifier: Apache-2.0
"""A vault that its security administrator has sealed is named by whoever asks, and gives nothing."""

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from test_volume_keys import keeper_of
from vault_world import Host, World

from jinku.vault import VaultError

__all__ = ["keeper_of"]  # a fixture
pytestmark = pytest.mark.openbao
SEAL = "shamir"


@pytest.fixture
def seal(ready: World) -> Iterator[Callable[[], None]]:
    """``seal()`` seals it; the shares open it at the end."""
    yield ready.seal
    ready.open()


def test_by_whoever_waits_for_it(ready: World, seal: Callable[[], None]) -> None:
    seal()
    with pytest.raises(VaultError, match="sealed; the operators open it"):
        ready.door.wait_until_active(0)


def test_by_a_machine_that_asks_whether_it_is_enrolled(
    host_at: Callable[[str], Host], seal: Callable[[], None]
) -> None:
    host = host_at("crm1")
    seal()
    assert "sealed; the operators unseal it, each with a share (`jinku unseal`)" in host.enrol("state").stderr


def test_to_a_machine_that_wants_the_key_of_its_volume(
    keeper_of: Callable[[str], Any],
    seal: Callable[[], None],
) -> None:
    mine = keeper_of("crm1")
    wrapped = mine.wrap("crm1-attachments", secrets.token_bytes(32))
    seal()
    with pytest.raises(Exception, match="the vault gives no key"):
        mine.unwrap("crm1-attachments", wrapped)
