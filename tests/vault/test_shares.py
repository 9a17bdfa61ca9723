# SPDX-License-Identifier: Apache-2.0
"""Shares go to the operators by OpenPGP where they have keys: what lies on the controller's disk opens nothing."""

import base64
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from openpgp import PEOPLE, gpg
from vault_world import World

from jinku.vault import VaultError, initialise

pytestmark = [pytest.mark.openbao, pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not here")]


def test_each_operator_alone_reads_one_share(vault: World, keys: tuple[Path, tuple[str, ...]]) -> None:
    home, public = keys
    with pytest.raises(VaultError, match="2 OpenPGP keys; at least 3"):
        initialise(replace(vault.fleet, pgp_keys=public[:2]), vault.door)
    initialise(replace(vault.fleet, pgp_keys=public, pgp_names=PEOPLE), vault.door)
    kept = json.loads((vault.fleet.state / "vault/recovery.json").read_text())
    assert (kept["threshold"], kept["encrypted"], len(kept["shares"])) == (2, True, 3)
    opened = {gpg(home, "--decrypt", given=base64.b64decode(share)) for share in kept["shares"]}
    assert len(opened) == 3
    assert all(len(bytes.fromhex(share.decode())) == 33 for share in opened)
    for person in PEOPLE:
        file = vault.fleet.state / f"vault/share.{person}.gpg"
        assert file.stat().st_mode & 0o777 == 0o600
        assert gpg(home, "--decrypt", str(file)) in opened
