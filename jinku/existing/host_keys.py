# SPDX-License-Identifier: Apache-2.0
"""Host keys of hosts that exist: `<env>/known_hosts`, which the environment's owner keeps beside environment.yaml."""

import base64
import hashlib
from pathlib import Path

from jinku.model import Node, Topology

KIND = "ssh-ed25519"
_HEAD = "# Host keys, compared with what the hosts themselves said (`jinku contact`, or by hand): NAME ssh-ed25519 AAAA...\n"


def file_of(folder: Path) -> Path:
    """The file of an environment. ``folder``: of environment.yaml."""
    return folder / "known_hosts"


def read(folder: Path, topology: Topology) -> dict[str, str]:
    """``ssh-ed25519 AAAA...`` by name of node, for each node that the file names by name, fqdn or address."""
    file = file_of(folder)
    lines = file.read_text().splitlines() if file.exists() else []
    words = [line.split() for line in lines if line.strip() and not line.startswith(("#", "@"))]
    keys = {
        name: " ".join(line[1:3]) for line in words if len(line) > 2 and line[1] == KIND for name in line[0].split(",")
    }
    return {node.name: keys[name] for node in topology.nodes for name in _names(node) if name in keys}


def _names(node: Node) -> tuple[str, ...]:
    return (str(node.address), node.fqdn, node.name)


def fingerprint(key: str) -> str:
    """``SHA256:...`` of a public key line, as `ssh-keygen -lf` prints it."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def record(folder: Path, keys: dict[str, str]) -> None:
    """Add keys to the file. :raises OSError: it cannot be written."""
    file = file_of(folder)
    text = file.read_text() if file.exists() else _HEAD
    if text and not text.endswith("\n"):
        text += "\n"
    scratch = file.with_name(f".{file.name}.new")
    scratch.write_text(text + "".join(f"{name} {key}\n" for name, key in sorted(keys.items())))
    scratch.rename(file)
