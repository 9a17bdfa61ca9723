# SPDX-License-Identifier: Apache-2.0
"""The first secret of a machine: wrapped, for one use, within ten minutes, from that machine's address only."""

from collections.abc import Iterable
from dataclasses import dataclass

import hvac

from jinku.vault.fleet import Fleet

__all__ = ["Bootstrap", "wrap"]


@dataclass(frozen=True)
class Bootstrap:
    """What a machine needs to enrol: the role's id is no secret, the wrapping token is one for ten minutes."""

    role_id: str
    wrapping_token: str


def wrap(fleet: Fleet, client: hvac.Client, names: Iterable[str]) -> dict[str, Bootstrap]:
    """Return a Bootstrap for each machine named; `client` is logged in as manager, who never sees the secret itself.

    Raises KeyError for a name that is not in the fleet, hvac's errors when the vault refuses.
    """
    known = {machine.name for machine in fleet.machines}
    found = {}
    for name in names:
        if name not in known:
            raise KeyError(name)
        path = f"auth/approle/role/host-{name}"
        role_id = client.read(f"{path}/role-id")["data"]["role_id"]
        wrapped = client.write_data(f"{path}/secret-id", data={}, wrap_ttl="10m")
        found[name] = Bootstrap(role_id, wrapped["wrap_info"]["token"])
    return found
