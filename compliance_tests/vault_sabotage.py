# SPDX-License-Identifier: Apache-2.0
"""What sabotages of the vault have in common: who writes there, and what lies beside it on the controller."""

import os
import sys
from textwrap import indent

from jinku.model import load_environment
from jinku.places import CHECKOUT, Places

#: Where the controller keeps what it has of the vault.
VAULT_FOLDER = Places(load_environment(os.environ.get("JINKU_ENV", "lab")).name).vault


def by_the_manager(statements: str) -> str:
    """Shell for the controller: these Python statements with ``client``, the vault as the duty manager, ``fleet`` and ``places``."""
    return f"""cd {CHECKOUT} && {sys.executable} - <<'END'
import os
from jinku.model import Topology, load_environment
from jinku.places import Places
from jinku.vault import Fleet, manager, through_the_bastion
topology = Topology.of(load_environment(os.environ.get("JINKU_ENV", "lab")))
places = Places(topology.env.name)
fleet = Fleet.of(topology, places)
with through_the_bastion(fleet) as door, manager(fleet, door) as client:
{indent(statements.strip(), "    ")}
END"""
