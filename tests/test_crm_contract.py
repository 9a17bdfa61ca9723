# SPDX-License-Identifier: Apache-2.0
"""What a CRM plug-in owes the rest of Jinku is written down, and the plug-in's files agree with it."""

import ast
import json
import re
from pathlib import Path
from typing import Annotated, Literal
from xml.etree import ElementTree as ET

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints

from jinku.model.environment import Crm
from jinku.model.profiles import VOLUMES
from jinku.model.topology import SERVICES

REPOSITORY = Path(__file__).resolve().parent.parent
ROLE = REPOSITORY / "roles/crm"
PROGRAM = ROLE / "files/crm"
CONTRACTS = sorted((REPOSITORY / "roles").glob("*/contract.yaml"))
PLACEHOLDER = re.compile(r"%\(\w+\)s")

SchemaName = Annotated[str, StringConstraints(pattern=r"^jinku/crm-[a-z]+/[1-9]\d*$")]


class Part(BaseModel):
    """Part of a contract: nothing unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Health(Part):
    """How to ask whether it works; the database must be part of the answer."""

    path: Annotated[str, StringConstraints(pattern=r"^/[a-z/]+$")]
    good: Literal[200]
    includes: frozenset[Literal["application", "database"]]
    schema_: SchemaName


class Login(Part):
    """How people get in."""

    path: str
    throttled: Literal[True]
    first_password: Literal["one-time"]


class Capabilities(Part):
    """What it can do; what it lacks is said, not left out."""

    parties: Literal[True]
    leads: Literal[True]
    opportunities: Literal[True]
    sales: Literal[True]
    attachments: Literal[True]
    field_access: bool
    record_rules: bool
    approvals: bool
    idle_logout: bool
    password_ageing: bool
    second_factor: bool
    export_permission: bool
    consent_ledger: bool


class Verb(Part):
    """A command on a host of the tier."""

    command: tuple[str, ...]
    schema_: SchemaName


class Verbs(Part):
    """What can be asked of every CRM."""

    health: Verb
    users: Verb
    export: Verb
    erase: Verb
    attachments: Verb
    unenrol: Verb


class Database(Part):
    """Where its records lie."""

    service: str
    name: str
    owner: str


class Attachments(Part):
    """Where its files lie."""

    volume: str
    path: Annotated[str, StringConstraints(pattern=r"^/")]


class Data(Part):
    """All that must be kept."""

    database: Database
    attachments: Attachments


class Secret(Part):
    """A secret that the vault's agent writes."""

    path: str
    file: str
    mode: Literal["0600", "0640"]
    owner: str


class Contract(Part):
    """The whole of contract.yaml."""

    schema_: Literal["jinku/crm-contract/1"]
    app: str
    version: str
    title: dict[Literal["en", "zh"], str]
    service: str
    health: Health
    login: Login
    capabilities: Capabilities
    languages: frozenset[str]
    verbs: Verbs
    data: Data
    secrets: tuple[Secret, ...]


def renamed(value: object) -> object:
    """``schema`` is a method of pydantic's models."""
    if isinstance(value, dict):
        return {"schema_" if key == "schema" else key: renamed(inner) for key, inner in value.items()}
    return value


def contract(path: Path) -> Contract:
    """A checked contract."""
    return Contract.model_validate(renamed(yaml.safe_load(path.read_text(encoding="utf-8"))))


def po(path: Path) -> dict[str, str]:
    """Texts of a translation file, by original."""
    texts = {}
    for entry in path.read_text(encoding="utf-8").split("\n\n"):
        parts = re.findall(r'^(msgid|msgstr) ((?:"[^\n]*"\n?)+)', entry, re.MULTILINE)
        found = {kind: "".join(json.loads(line) for line in text.strip().splitlines()) for kind, text in parts}
        if found.get("msgid"):
            texts[found["msgid"]] = found["msgstr"]
    return texts


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: path.parent.name)
def test_a_contract_says_what_every_plug_in_owes(path: Path) -> None:
    said = contract(path)
    assert said.service in SERVICES
    assert said.data.database.service in SERVICES
    assert said.health.includes == {"application", "database"}
    assert said.data.attachments.volume in {kind for kind, _, _ in VOLUMES["crm"]}
    assert said.data.attachments.path.startswith(tuple(mount for _, mount, _ in VOLUMES["crm"]))


def test_there_is_one_contract_for_each_application_that_an_environment_may_choose() -> None:
    offered = Crm.model_json_schema()["properties"]["app"]
    assert {contract(path).app for path in CONTRACTS} == set(offered.get("enum", [offered.get("const")]))


def test_the_program_answers_the_contract_s_verbs() -> None:
    verbs = contract(ROLE / "contract.yaml").verbs
    names = set(type(verbs).model_fields)
    tree = ast.parse((PROGRAM / "jinku_crm/contract.py").read_text(encoding="utf-8"))
    assert names <= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for name in names:
        verb = getattr(verbs, name)
        assert verb.command[:2] == ("jinku-crm", name)
        assert verb.schema_ == f"jinku/crm-{name}/1"


def test_every_message_of_the_login_is_there_in_chinese() -> None:
    module = PROGRAM / "trytond_jinku_login"
    messages = {str(field.text) for field in ET.parse(module / "message.xml").iter("field")}  # noqa: S314  our own file
    assert messages <= set(po(module / "locale/zh_CN.po"))


@pytest.mark.parametrize("path", sorted(PROGRAM.rglob("*.po")), ids=lambda path: path.name)
def test_a_translation_keeps_what_is_filled_in(path: Path) -> None:
    for original, text in po(path).items():
        assert text
        assert set(PLACEHOLDER.findall(original)) == set(PLACEHOLDER.findall(text)), original
        assert original.count("\n") == text.count("\n"), original


def test_a_forbidden_password_is_one_that_the_other_rules_would_accept() -> None:
    length = yaml.safe_load((ROLE / "defaults/main.yml").read_text())["crm_password_length"]
    lines = (PROGRAM / "forbidden_passwords.txt").read_text().splitlines()
    assert len(lines) == len(set(lines))
    assert not [line for line in lines if len(line) < length]
