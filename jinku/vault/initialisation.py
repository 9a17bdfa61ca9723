# SPDX-License-Identifier: Apache-2.0
"""The first minute of a vault: initialise, hand out the recovery shares, leave the operators' way in, drop the root.

A run that is killed midway is finished by the next: the root token stays in a 0600 file of the state folder until the
operators' own way in has been tried, and is then revoked and removed.
"""

import json
from pathlib import Path
from typing import Any

import hvac
from hvac.exceptions import Forbidden

from jinku.pki import Authority
from jinku.vault.door import Door, VaultError, manager
from jinku.vault.fleet import Fleet
from jinku.vault.policies import DUTIES, policies_of
from jinku.vault.settings import Settings
from jinku.vault.shares import hand_over, keep, record, reserve, share_file, split_of

__all__ = ["ASKING", "NOWHERE", "initialise"]

#: A network for documentation (RFC 5737): a token bound to it can be asked about and never be used.
NOWHERE = "192.0.2.1/32"
#: The role whose tokens come with any policy, to be asked about; what all of them have in common.
ASKING = {
    "allowed_policies_glob": ["*"],
    "disallowed_policies": ["root"],
    "token_bound_cidrs": [NOWHERE],
    "token_no_default_policy": True,
    "orphan": True,
    "renewable": False,
}
_HOUR = 3600


def _initialise(fleet: Fleet, door: Door, folder: Path) -> None:
    """Call sys/init once and write down what it answers before anything else is done."""
    client = door.client()
    sealed_by = client.read("sys/seal-status") or {}
    prefix = "recovery" if sealed_by.get("type") != "shamir" else "secret"
    split = split_of(fleet)
    wanted: dict[str, Any] = {f"{prefix}_shares": split.shares, f"{prefix}_threshold": split.threshold}
    if split.keys:
        wanted["recovery_pgp_keys" if prefix == "recovery" else "pgp_keys"] = list(split.keys)
    for name in ("recovery.json", "root-token"):
        reserve(folder / name)  # a full disk is met before the only moment at which the shares can be had
    answer = client.adapter.put("/v1/sys/init", json=wanted)
    shares = answer.get("recovery_keys_base64") or answer["keys_base64"]
    kept = record(prefix, split, shares)
    # The shares first: with them a lost root token is made anew, without them nothing is.
    keep(folder / "recovery.json", json.dumps(kept, indent=1) + "\n")
    keep(folder / "root-token", answer["root_token"])
    if prefix == "secret" and not kept["encrypted"]:
        for share in shares[: split.threshold]:
            client.adapter.put("/v1/sys/unseal", json={"key": share})


def _hand_out(folder: Path) -> None:
    """Leave each holder's encrypted share in a file of its own, to be fetched and decrypted by that person alone."""
    file = folder / "recovery.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    for person, share in zip(kept.get("holders", ()), kept.get("shares", ()), strict=False):
        if not share_file(folder, person).exists():
            hand_over(share_file(folder, person), share)


def _open_the_way_in(fleet: Fleet, root: hvac.Client) -> None:
    """Set up, with the root token, what the manager must not be able to change: who logs in for which duty."""
    settings = Settings(root)
    settings.mount("auth", "operators", "cert", _HOUR)
    authority = Authority(fleet.state / "pki", "operators").certificate_path.read_text()
    policies = policies_of(fleet)
    for duty in DUTIES:
        settings.write(f"sys/policies/acl/{duty}", {"policy": policies[duty]})
        settings.write(
            f"auth/operators/certs/{duty}",
            {
                "certificate": authority,
                "allowed_organizational_units": [duty],
                "token_policies": [duty],
                "token_ttl": _HOUR,
                "token_max_ttl": _HOUR,
            },
        )
    # With it the manager may ask what a policy allows: the token comes with every policy and can be used from nowhere. A
    # check makes one for each policy, and the vault writes nothing down for a batch token; how long it lives is in the request.
    settings.write("auth/token/roles/expect", {**ASKING, "token_type": "batch"})


def initialise(fleet: Fleet, door: Door) -> list[str]:
    """Initialise the vault where it is not, leave the operators' way in, revoke the root token; return what was done.

    Leaves <state>/vault/recovery.json (0600): the shares, encrypted to the operators' OpenPGP keys when they have some;
    then each operator's own lies in share.<name>.gpg, too.
    Raises VaultError when the vault does not answer, stays sealed, was set up by other authorities, or is empty although
    the shares of an earlier one are kept.
    """
    folder = fleet.state / "vault"
    token_file = folder / "root-token"
    done: list[str] = []
    if not door.health()["initialized"]:
        if (folder / "recovery.json").exists():
            # An empty vault where there was one: its volume is not mounted, or was replaced. A new one would take the
            # place of the only shares that open the old one.
            raise VaultError(
                f"{folder / 'recovery.json'}: the shares of a vault are here, and {fleet.vault_name} holds none: its volume"
                " is not mounted, or is another; bring it back, or move this file away to begin a new vault"
            )
        _initialise(fleet, door, folder)
        done.append("sys/init")
    _hand_out(folder)
    door.wait_until_active()
    if not token_file.exists():
        return done
    root = door.client(token=token_file.read_text().strip())
    try:
        root.read("auth/token/lookup-self")
        alive = True
    except Forbidden:
        alive = False  # killed between revoking it and removing the file
    if alive:
        _open_the_way_in(fleet, root)
    with manager(fleet, door):
        pass
    if alive:
        root.auth.token.revoke_self()
    token_file.unlink()
    return [*done, "operators' way in opened, root token revoked"]
