# SPDX-License-Identifier: Apache-2.0
"""People: their duties, keys and accounts."""

import copy

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from lab_choices import LAB, LabWith, Problems

from jinku.model import Topology, load_environment
from jinku.model.inventory import inventory
from jinku.model.people import accounts_on, principal
from jinku.places import Places


def test_a_duty_that_nobody_has_is_refused(problems: Problems) -> None:
    operators = [*LAB["operators"][:2], {"name": "zhao-liu", "duty": "system"}]
    assert "nobody has the duty 'security'" in problems({"operators": operators})[0]


def test_a_shared_or_weak_key_is_refused(problems: Problems) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKxiqn6nUdMwOAF7rKMLs8uUoDoVkjSoSV5Upx1VGdVf"
    operators = copy.deepcopy(LAB["operators"])
    operators[0]["keys"] = [key + " one"]
    operators[1]["keys"] = [key + " two"]
    assert "one key is given to two people" in problems({"operators": operators})[0]
    for weak in ("ssh-dss AAAA x", 'command="id" ' + key, "ssh-rsa AAAAB3NzaC1yc2E= short", key + "\nssh-ed25519 AAAA"):
        operators[1]["keys"] = [weak]
        assert "operators.1.keys.0" in problems({"operators": operators})[0]


def test_an_operator_without_a_key_and_half_a_key_are_refused(problems: Problems) -> None:
    operators = copy.deepcopy(LAB["operators"])
    operators[2]["keys"] = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKxiqn6nUdMwOAF7rKMLs8u li-na"]
    assert (
        "operators.2.keys.0: is not a whole OpenSSH public key; the one line" in problems({"operators": operators})[0]
    )
    short = rsa.generate_private_key(65537, 2048).public_key()
    line = short.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    operators[2]["keys"] = [line]
    assert "operators.2.keys.0: is an RSA key of 2048 bits, 3072 are wanted" in problems({"operators": operators})[0]
    said = problems({"operators": LAB["operators"], "backend": "existing"})
    assert any(line.endswith("operators.0.keys: 'li-na' has no key; at least one OpenSSH public key") for line in said)


def test_people_have_accounts_where_their_duty_is() -> None:
    topology = Topology.of(load_environment("lab"))
    there = {node.name: [one.duty for one in accounts_on(topology.env, node)] for node in topology.nodes}
    assert there["db1"] == ["system", "audit", "security"]
    assert there["aud1"] == there["aud2"] == ["audit", "security"]


def test_another_key_or_duty_is_another_principal() -> None:
    one, other = (
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKxiqn6nUdMwOAF7rKMLs8uUoDoVkjSoSV5Upx1VGdVf",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDZUSuBqGYDqj6W4FQVMmUFJmGMQdTHpQe0m0FoBV9vQ",
    )
    assert principal("li-na", "system", [one, other]) == principal("li-na", "system", [other + " new name", one])
    assert len({principal("li-na", *rest) for rest in (("system", [one]), ("audit", [one]), ("system", [other]))}) == 3
    assert principal("li-na", "system", [one]).startswith("li-na.system.")


def test_an_openpgp_key_reaches_the_roles_and_a_broken_one_is_refused(problems: Problems, lab_with: LabWith) -> None:
    operators = copy.deepcopy(LAB["operators"])
    operators[0]["pgp"] = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
    assert "operators.0.pgp" in problems({"operators": operators})[0]
    operators[0]["pgp"] = "mDME" * 60
    topology = lab_with({"operators": operators})
    variables = inventory(topology, Places(topology.env.name))["_meta"]["hostvars"]["sec1"]
    assert [operator.get("pgp") for operator in variables["jinku_operators"]] == ["mDME" * 60, None, None]
