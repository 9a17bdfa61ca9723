# SPDX-License-Identifier: Apache-2.0
"""Shares go to the operators by OpenPGP where they have keys: what lies on the controller's disk opens nothing."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from vault_world import World

from jinku.vault import VaultError, initialise

pytestmark = [pytest.mark.openbao, pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not here")]
PEOPLE = ("li.wei", "zhang.min", "wang.fang")


def gpg(home: Path, *arguments: str, given: bytes = b"") -> bytes:
    environment = {**os.environ, "GNUPGHOME": str(home)}
    return subprocess.run(
        ["gpg", "--batch", "--quiet", *arguments], input=given, env=environment, check=True, capture_output=True
    ).stdout


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    home = tmp_path / "g"
    home.mkdir(mode=0o700)
    for person in PEOPLE:
        gpg(home, "--passphrase", "", "--quick-gen-key", f"{person}@test.jinku", "default", "default", "1d")
    yield home, tuple(base64.b64encode(gpg(home, "--export", f"{person}@test.jinku")).decode() for person in PEOPLE)
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=True)


def test_each_operator_alone_reads_one_share(vault: World, keys: tuple[Path, tuple[str, ...]]) -> None:
    home, public = keys
    with pytest.raises(VaultError, match="2 OpenPGP keys; at least 3"):
        initialise(replace(vault.fleet, pgp_keys=public[:2]), vault.door)
    initialise(replace(vault.fleet, pgp_keys=public), vault.door)
    kept = json.loads((vault.fleet.state / "vault/recovery.json").read_text())
    assert (kept["threshold"], kept["encrypted"], len(kept["shares"])) == (2, True, 3)
    opened = {gpg(home, "--decrypt", given=base64.b64decode(share)) for share in kept["shares"]}
    assert len(opened) == 3
    assert all(len(bytes.fromhex(share.decode())) == 33 for share in opened)
