# SPDX-License-Identifier: Apache-2.0
"""Policies of the vault and their expectations: for every policy and every secret it is said whether it may have it. Pure."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from jinku.model import Topology, load_environment
from jinku.places import CHECKOUT, Places
from jinku.vault.fleet import Fleet, Person
from jinku.vault.policies import FOLDER, expectations_of, secret_paths

#: Who reads what, written down a second time: a policy and its expectation could be wrong together.
READERS = {
    "kv/crm/factor": {"crm"},
    "kv/monitor/room": {"monitor", "room"},
    "kv/power/host": {"host"},
    "kv/power/primary": {"room"},
    "backup/repository": {"backup"},
    "sys/storage/raft/snapshot": {"backup"},
    "database/static-creds/crm": {"crm"},
}
ADMINISTER = ("manager", "audit")
GRANT = re.compile(r'^path "([^"]+)" \{\s*capabilities *= \[([^\]]*)\]', re.MULTILINE)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path))
    found = Fleet.of(Topology.of(load_environment("lab")), Places("lab"))
    people = tuple(Person(name, "system", name, (), ()) for name in ("li-na", "wang-fang"))
    return replace(found, people=people)


def unsaid(folder: Path) -> list[str]:
    """Return a line for each path that a policy allows and its expectation does not; of the duties that administer, the secrets only."""
    found = []
    for file in sorted(folder.glob("*.hcl")):
        text = file.read_text()
        granted = GRANT.findall(text)
        assert len(granted) == len(re.findall(r'^path "', text, re.MULTILINE)), f"{file.name}: a path in another shape"
        said = yaml.safe_load(file.with_name(f"{file.stem}.expect.yaml").read_text())
        for path, capabilities in granted:
            wanted = {one.strip(' "') for one in capabilities.split(",")}
            secret = file.stem not in ADMINISTER or path.startswith(("kv/", "backup/", "database/static-creds/"))
            shape = re.compile(re.escape(path).replace(r"\*", ".*").replace(r"\+", "[^/]+"))
            if (
                secret
                and wanted != {"list"}
                and not any(shape.fullmatch(one) and set(said[one]) == wanted for one in said)
            ):
                found.append(f"{file.stem}: {path}: {sorted(wanted)} is allowed, and no expectation says so")
    return found


def test_each_policy_says_of_every_secret_whether_it_may_have_it(fleet: Fleet) -> None:
    expected = expectations_of(fleet)
    machines, people = [one.name for one in fleet.machines], [one.name for one in fleet.people]
    known = {
        path.replace("<host>", host).replace("<person>", person)
        for path in secret_paths()
        for host in machines
        for person in people
    }
    assert len(known) > len(secret_paths()) + len(machines)
    assert {name: known - set(said) for name, said in expected.items() if known - set(said)} == {}


@pytest.mark.parametrize("path", READERS)
def test_a_secret_is_for_those_who_need_it(fleet: Fleet, path: str) -> None:
    readers = {name for name, said in expectations_of(fleet).items() if "read" in said[path]}
    hosts = {f"host-{machine.name}" for machine in fleet.machines}
    assert readers == (hosts if READERS[path] == {"host"} else READERS[path])


def test_what_is_signed_or_unwrapped_is_for_one_machine_or_person(fleet: Fleet) -> None:
    expected = expectations_of(fleet)
    for machine in fleet.machines:
        for path in ("pki_int/issue", "volumes/encrypt", "volumes/decrypt", "ssh_hosts/sign"):
            may = {name for name, said in expected.items() if said[f"{path}/host-{machine.name}"] != {"deny"}}
            assert may == {f"host-{machine.name}"}, path
        may = {name for name, said in expected.items() if said[f"pki_identity/sign/host-{machine.name}"] != {"deny"}}
        assert may == {f"host-{machine.name}", f"enrol-{machine.name}"}
    for person in fleet.people:
        may = {name for name, said in expected.items() if said[f"ssh_people/sign/{person.name}"] != {"deny"}}
        assert may == {f"person-{person.name}"}


def test_what_the_hosts_agents_read_is_a_known_secret() -> None:
    asked = {
        path
        for file in CHECKOUT.glob("*/*/**/agent.d/*.j2")
        for path in re.findall(r'with secret \\*"([^"\\]+)\\*"', file.read_text(encoding="utf-8"))
    }
    contract = yaml.safe_load((CHECKOUT / "roles/crm/contract.yaml").read_text(encoding="utf-8"))
    asked |= {secret["path"] for secret in contract["secrets"]}
    chosen = {path for path in asked if "{{" in path}
    assert chosen == {"{{ account }}", "kv/power/{{ account }}"}, "of a UPS's two accounts"
    asked = asked - chosen | {"kv/power/host", "kv/power/primary"}
    assert asked <= secret_paths()
    assert {path for path in READERS if path != "sys/storage/raft/snapshot"} == asked


def test_whatever_a_policy_allows_its_expectation_says() -> None:
    assert unsaid(FOLDER) == []


@pytest.mark.parametrize(
    ("name", "grant", "said"),
    [
        ("monitor", 'path "kv/crm/factor" { capabilities = ["read"] }', "monitor: kv/crm/factor: ['read']"),
        ("host", 'path "kv/power/primary" { capabilities = ["read"] }', "host: kv/power/primary: ['read']"),
        ("manager", 'path "kv/new/secret" { capabilities = ["create"] }', "manager: kv/new/secret: ['create']"),
        ("audit", 'path "kv/+/factor" { capabilities = ["read"] }', "audit: kv/+/factor: ['read']"),
        ("crm", 'path "kv/crm/*" {\n  capabilities = ["read", "list"]\n}', "crm: kv/crm/*: ['list', 'read']"),
    ],
)
def test_a_right_of_which_the_expectation_says_nothing_is_refused(
    tmp_path: Path, name: str, grant: str, said: str
) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "policies")
    with (folder / f"{name}.hcl").open("a") as file:
        file.write(f"\n{grant}\n")
    assert unsaid(folder) == [f"{said} is allowed, and no expectation says so"]


def test_a_new_secret_is_asked_of_every_policy(fleet: Fleet, tmp_path: Path) -> None:
    """Whoever adds one says it once, for the one who may."""
    folder = shutil.copytree(FOLDER, tmp_path / "policies")
    with (folder / "edge.expect.yaml").open("w") as file:
        file.write("kv/edge/key: [read]\n")
    (folder / "edge.hcl").write_text('path "kv/edge/key" { capabilities = ["read"] }\n')
    assert unsaid(folder) == []
    expected = expectations_of(fleet, folder)
    assert {name for name, said in expected.items() if said["kv/edge/key"] != {"deny"}} == {"edge"}
