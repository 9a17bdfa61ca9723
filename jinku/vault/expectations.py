# SPDX-License-Identifier: Apache-2.0
"""Asks the running vault what each policy really allows, and compares it with <name>.expect.yaml."""

from dataclasses import dataclass
from pathlib import Path

import hvac

from jinku.vault.fleet import Fleet
from jinku.vault.policies import FOLDER, expectations_of

__all__ = ["Difference", "check_expectations"]


@dataclass(frozen=True)
class Difference:
    """A path at which the running vault allows something else than the expectation says."""

    policy: str
    path: str
    expected: frozenset[str]
    found: frozenset[str]

    def __str__(self) -> str:
        """Read as one line of a report."""
        return f"{self.policy}: {self.path}: allows {sorted(self.found)}; expected {sorted(self.expected)}"


def check_expectations(fleet: Fleet, client: hvac.Client, folder: Path = FOLDER) -> list[Difference]:
    """Return where the running vault differs from the expectations, empty when it agrees.

    `client` is logged in as manager. For each policy it makes a token of that policy which is bound to an address that
    nobody has, and asks sys/capabilities about it: no secret can be read with it, and it ends within a minute.
    """
    differences = []
    for policy, wanted in expectations_of(fleet, folder).items():
        # asked for by name: a policy that is missing in the vault allows nothing, which shows as a difference
        made = client.write_data("auth/token/create/expect", data={"policies": [policy], "ttl": "60s"})["auth"]
        answer = client.write_data("sys/capabilities", data={"token": made["client_token"], "paths": list(wanted)})
        if made["accessor"]:  # a vault that was set up before tokens of this role were batch tokens
            client.write_data("auth/token/revoke-accessor", data={"accessor": made["accessor"]})
        for path, expected in wanted.items():
            found = frozenset(answer["data"][path])
            if found != expected:
                differences.append(Difference(policy, path, frozenset(expected), found))
    return differences
