# SPDX-License-Identifier: Apache-2.0
"""The policies in vault_policies/: two files each, `<name>.hcl` and `<name>.expect.yaml`.

Three sorts, told apart by name. Duties are for people; the manager's is rendered for the environment. Two templates (`host`, `enrol`) are rendered once per machine:
`<host>` is its name; one (`person`) once per person. Every other file is named for a tier, and the machines of that tier hold it.
"""

import json
from pathlib import Path

import yaml

from jinku.vault.database import COMPOSITION, connection_url
from jinku.vault.fleet import Fleet, Machine

__all__ = [
    "DUTIES",
    "FOLDER",
    "PERSON",
    "TEMPLATES",
    "expectations_of",
    "policies_of",
    "policy_text",
    "tier_policies",
]

FOLDER = Path(__file__).resolve().parent.parent.parent / "vault_policies"
DUTIES = ("manager", "audit", "recovery")
TEMPLATES = ("host", "enrol")
PERSON = "person"


def policy_text(name: str, folder: Path = FOLDER) -> str:
    """Return the policy file of that name as it lies in the folder."""
    return (folder / f"{name}.hcl").read_text()


def _tiers(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.hcl") if path.stem not in (*DUTIES, *TEMPLATES, PERSON))


def tier_policies(machine: Machine, folder: Path = FOLDER) -> list[str]:
    """Return the policies that a machine holds for its tiers; a tier without a file needs no secret."""
    return [tier for tier in _tiers(folder) if tier in machine.tiers]


def policies_of(fleet: Fleet, folder: Path = FOLDER) -> dict[str, str]:
    """Return every policy the vault must hold, name to text, rendered for each machine."""
    found = {name: policy_text(name, folder) for name in (*DUTIES, *_tiers(folder))}
    for place, value in (("<connection-url>", connection_url(fleet)), ("<password-rule>", COMPOSITION)):
        found["manager"] = found["manager"].replace(
            place, json.dumps(value)[1:-1]
        )  # a text of HCL escapes as JSON's does
    for template in TEMPLATES:
        text = policy_text(template, folder)
        found |= {f"{template}-{machine.name}": text.replace("<host>", machine.name) for machine in fleet.machines}
    text = policy_text(PERSON, folder)
    return found | {f"{PERSON}-{one.name}": text.replace("<person>", one.name) for one in fleet.people}


def expectations_of(fleet: Fleet, folder: Path = FOLDER) -> dict[str, dict[str, set[str]]]:
    """Return, for each policy, path to expected capabilities.

    `<host>` (or `<person>`) is the machine (person) itself, `<other>` each other one.
    """
    found: dict[str, dict[str, set[str]]] = {}
    machines, people = [one.name for one in fleet.machines], [one.name for one in fleet.people]
    for name in (*DUTIES, *_tiers(folder), *TEMPLATES, PERSON):
        lines = yaml.safe_load((folder / f"{name}.expect.yaml").read_text())
        wanted = {str(path): set(capabilities) for path, capabilities in lines.items()}
        if name not in (*TEMPLATES, PERSON):
            found[name] = wanted
            continue
        members = people if name == PERSON else machines
        for member in members:
            others = [other for other in members if other != member]
            found[f"{name}-{member}"] = {
                path.replace("<host>", member).replace("<person>", member).replace("<other>", other): capabilities
                for path, capabilities in wanted.items()
                for other in (others if "<other>" in path else [""])
            }
    return found
