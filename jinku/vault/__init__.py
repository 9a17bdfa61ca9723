# SPDX-License-Identifier: Apache-2.0
"""What the controller does with OpenBao: initialise, configure, enrol, and ask whether it holds.

fleet = Fleet.of_variables(...)                      what the topology says, in plain data
with through_the_bastion(fleet) as door:             an SSH forward; TLS verified against the root
    initialise(fleet, door)                          once; leaves the operators' way in, revokes the root token
    with manager(fleet, door) as client:             every later run: an hour's certificate, policy `manager`
        configure(fleet, client)                     mounts, authorities, policies, roles; returns what changed
"""

from jinku.vault.configuration import configure
from jinku.vault.database import configure_database
from jinku.vault.door import Door, VaultError, manager, operator, through_the_bastion
from jinku.vault.enrolment import Bootstrap, wrap
from jinku.vault.expectations import Difference, check_expectations
from jinku.vault.fleet import Fleet, Machine
from jinku.vault.initialisation import initialise
from jinku.vault.people import export_authorities, revoke_leavers

__all__ = [
    "Bootstrap",
    "Difference",
    "Door",
    "Fleet",
    "Machine",
    "VaultError",
    "check_expectations",
    "configure",
    "configure_database",
    "export_authorities",
    "initialise",
    "manager",
    "operator",
    "revoke_leavers",
    "through_the_bastion",
    "wrap",
]
