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
    "secret_paths",
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


def _said(name: str, folder: Path) -> dict[str, set[str]]:
    """Return what one file of expectations says, path to capabilities."""
    lines = yaml.safe_load((folder / f"{name}.expect.yaml").read_text())
    return {str(path): set(capabilities) for path, capabilities in lines.items()}


def secret_paths(folder: Path = FOLDER) -> set[str]:
    """Return every path at which somebody gets what others must not have, with `<host>` and `<person>` in it.

    They are what machines, people and the duty recovery are allowed, and the secrets that the manager puts there.
    """
    owned = {
        path
        for name in (*_tiers(folder), *TEMPLATES, PERSON, "recovery")
        for path, capabilities in _said(name, folder).items()
        if capabilities != {"deny"}
    }
    put = {path for path, capabilities in _said("manager", folder).items() if capabilities != {"deny"}}
    return owned | {path for path in put if path.startswith(("kv/", "backup/"))}


def expectations_of(fleet: Fleet, folder: Path = FOLDER) -> dict[str, dict[str, set[str]]]:
    """Return, for each policy, path to expected capabilities: what its file says, and no other secret path of anybody.

    In the file of a template `<host>` (or `<person>`) is the machine (person) itself.
    """
    found: dict[str, dict[str, set[str]]] = {}
    machines, people = [one.name for one in fleet.machines], [one.name for one in fleet.people]
    others = {
        path.replace("<host>", host).replace("<person>", person): {"deny"}
        for path in secret_paths(folder)
        for host in (machines if "<host>" in path else [""])
        for person in (people if "<person>" in path else [""])
    }
    for name in (*DUTIES, *_tiers(folder)):
        found[name] = others | _said(name, folder)
    for name in (*TEMPLATES, PERSON):
        for member in people if name == PERSON else machines:
            found[f"{name}-{member}"] = others | {
                path.replace("<host>", member).replace("<person>", member): capabilities
                for path, capabilities in _said(name, folder).items()
            }
    return found
