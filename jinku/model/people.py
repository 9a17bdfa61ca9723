# SPDX-License-Identifier: Apache-2.0
"""Named people: on which hosts they have accounts, and the principal that their SSH certificates carry. Pure, no I/O."""

import base64
import hashlib
from collections.abc import Iterable, Mapping

from jinku.model.environment import Environment, Operator
from jinku.model.topology import Node

_DIGITS = 16  # of SHA-256, in hexadecimal: enough that nobody finds keys with the same


def has_account(operator: Operator, node: Node) -> bool:
    """Whether a person has an account on a host.

    On hosts of the audit zone system administrators have none: who runs the hosts does not come near their records.
    """
    return operator.state == "present" and not (operator.duty == "system" and node.zone == "audit")


def accounts_on(env: Environment, node: Node) -> tuple[Operator, ...]:
    """The people who have an account on a host, in the order of environment.yaml."""
    return tuple(operator for operator in env.operators if has_account(operator, node))


def keys_of(operator: Operator, generated: Mapping[str, str]) -> tuple[str, ...]:
    """A person's OpenSSH public keys: their own, or the one that the lab made (``generated``, by name)."""
    made = generated.get(operator.name)
    return operator.keys or ((made,) if made else ())


def fingerprint(key: str) -> str:
    """SHA256 fingerprint of an OpenSSH public key line, as ``ssh-keygen -l`` prints it."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def principal(name: str, duty: str, keys: Iterable[str]) -> str:
    """What hosts ask for in a person's SSH certificate: name, duty, and a digest of the keys that the person has now.

    Whoever loses a key, or changes the duty, gets another one, and no certificate from before is taken any more.
    """
    digest = hashlib.sha256("\n".join(sorted(fingerprint(key) for key in keys)).encode()).hexdigest()
    return f"{name}.{duty}.{digest[:_DIGITS]}"
