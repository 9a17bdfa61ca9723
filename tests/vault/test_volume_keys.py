# SPDX-License-Identifier: Apache-2.0
"""The keys of volumes at a real vault: a machine unwraps those of its own volumes, each as itself, and nobody else's."""

import secrets
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import Any

import pytest
from enrolled_host import HostAt, enrolled
from vault_world import ROLES, World

pytestmark = pytest.mark.openbao
PROGRAM = ROLES.parent / "hardening/volumes/files/usr/local/sbin/jinku-volumes"


@pytest.fixture
def keeper_of(ready: World, host_at: HostAt, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """``keeper_of("crm1")``: the program's own way to the vault, as that machine, enrolled."""

    def make(name: str) -> Any:
        host = enrolled(host_at(name), ready)
        monkeypatch.setenv("JINKU_ETC", str(host.etc))
        monkeypatch.setenv("JINKU_ENROL", str(ROLES / "enrol/files/usr/local/sbin/jinku-enrol"))
        loader = SourceFileLoader(f"jinku_volumes_{name}", str(PROGRAM))
        spec = spec_from_loader(loader.name, loader)
        assert spec
        program = module_from_spec(spec)
        loader.exec_module(program)
        keeper = program.FromTheVault({"engine": "volumes", "host": name})
        keeper.wrap("any", b"")  # logs in, while the variables point to this machine
        return keeper

    return make


def test_a_machine_unwraps_its_own_volume_s_key_and_no_other(keeper_of: Callable[[str], Any]) -> None:
    key, mine, theirs = secrets.token_bytes(32), keeper_of("crm1"), keeper_of("sec1")
    wrapped = mine.wrap("crm1-attachments", key)
    assert key.hex() not in wrapped
    assert mine.unwrap("crm1-attachments", wrapped) == key
    with pytest.raises(Exception, match="400"):  # bound to the name of its volume
        mine.unwrap("crm1-other", wrapped)
    with pytest.raises(Exception, match="400"):  # wrapped by another machine's key
        theirs.unwrap("crm1-attachments", wrapped)
    theirs.key = "host-crm1"
    with pytest.raises(Exception, match="403"):
        theirs.unwrap("crm1-attachments", wrapped)
