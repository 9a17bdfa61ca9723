# SPDX-License-Identifier: Apache-2.0
"""The way in: keys, client configuration and known host keys, so that ``ssh -F <state>/ssh/config NODE`` reaches every node."""

import errno
import os
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from jinku.model import InputError, Node, Topology
from jinku.model.inventory import AUTOMATION
from jinku.places import Places

_LONGEST_SOCKET = 107  # bytes of sockaddr_un.sun_path, without its end
_SOCKET_NAME = 60  # "/cm-", the 40 digits of %C, and the suffix that ssh adds while it opens the socket


def ensure_key(path: Path, comment: str) -> str:
    """Make an ed25519 key pair at ``path`` (0600) and ``path``.pub unless there is one.

    :returns: the public key line.
    :raises OSError: the folder cannot be written.
    """
    public = path.with_name(path.name + ".pub")
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ed25519.Ed25519PrivateKey.generate()
        encoding, openssh = serialization.Encoding, serialization.PrivateFormat.OpenSSH
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(key.private_bytes(encoding.PEM, openssh, serialization.NoEncryption()))
        line = key.public_key().public_bytes(encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
        public.write_text(f"{line} {comment}\n")
        scratch.rename(path)  # last, so that a key that is there has its public half
    return public.read_text().strip()


def ensure_automation_key(places: Places) -> str:
    """Public key of the automation account; the pair is made at the first call."""
    places.make()
    return ensure_key(places.automation_key, f"{AUTOMATION}@{places.name}")


def use_automation_key(topology: Topology, places: Places) -> None:
    """Put the owner's key in the place of the automation account's, where environment.yaml names one.

    :raises jinku.model.InputError: it cannot be read, or the environment works with another one already.
    """
    given = topology.env.existing.automation_key
    if not given or topology.env.backend != "existing":
        return
    field, key = "environment.yaml: existing.automation_key", Path(given).expanduser()
    public = key.with_name(key.name + ".pub")
    if not (os.access(key, os.R_OK) and os.access(public, os.R_OK)):
        raise InputError(
            [f"{field}: {key} and {public.name} beside it cannot be read; a key pair (`ssh-keygen -t ed25519`)"]
        )
    places.make()
    here = places.automation_key
    if here.exists() and not here.samefile(key):
        raise InputError(
            [f"{field}: hosts know another key, {here}; move that one and its .pub away, then `jinku contact`"]
        )
    for link, target in ((here, key), (here.with_name(here.name + ".pub"), public)):
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(target.resolve())


def ensure_operator_keys(topology: Topology, places: Places) -> dict[str, str]:
    """Keys of the lab's operators who have none of their own, in <state>/ssh/operators; {} elsewhere.

    :returns: public key lines by operator's name.
    """
    if topology.env.backend != "lab":
        return {}
    folder = places.ssh / "operators"
    return {
        operator.name: ensure_key(folder / operator.name, f"{operator.name}@{places.name}")
        for operator in topology.env.operators
        if operator.state == "present" and not operator.keys
    }


def generated_keys(places: Places) -> dict[str, str]:
    """Public key lines, by name, of the keys that the lab made for people; {} where it made none."""
    return {file.stem: file.read_text().strip() for file in sorted(places.ssh.glob("operators/*.pub"))}


def _control_path(places: Places) -> str:
    """Path of the shared connections' sockets; in a private folder elsewhere when the state's path is too long for one.

    :raises PermissionError: that folder is somebody else's, who could listen there in the place of our connection.
    """
    if len(str(places.ssh).encode()) + _SOCKET_NAME <= _LONGEST_SOCKET:
        return f"{places.ssh}/cm-%C"
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"jinku-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid() or seen.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "is no private folder of this account", str(folder))
    return f"{folder}/{places.name}-%C"


def _block(node: Node, bastion: Node | None) -> list[str]:
    jump = [f"  ProxyJump {bastion.name}"] if bastion and bastion != node and "bastion" not in node.tiers else []
    return [
        f"Host {node.name} {node.fqdn}",
        f"  HostName {node.address}",
        f"  HostKeyAlias {node.name}",
        *jump,
        "",
    ]


def write(topology: Topology, places: Places, host_keys: Mapping[str, str]) -> None:
    """Write the client configuration and the known host keys.

    :param host_keys: public host key line (``ssh-ed25519 AAAA...``) by node, as the backend reported it at creation.
        A node without one is kept as it was: its site may only be down.
    """
    places.make()
    known = dict(line.split(" ", 1) for line in _lines(places.known_hosts))
    known |= {name: " ".join(key.split()[:2]) for name, key in host_keys.items()}
    known = {node.name: known[node.name] for node in topology.nodes if node.name in known}
    _replace(places.known_hosts, "".join(f"{name} {key}\n" for name, key in known.items()))
    lines = [f"# Made by jinku for the environment {places.name}; `ssh -F {places.ssh_config} NODE`", ""]
    bastions = topology.nodes_of("bastion")
    for node in topology.nodes:
        nearest = next(
            (bastion for bastion in bastions if bastion.site == node.site), bastions[0] if bastions else None
        )
        lines += _block(node, nearest)
    lines += [
        "Host *",
        f"  User {AUTOMATION}",
        f"  IdentityFile {places.automation_key}",
        "  IdentitiesOnly yes",
        f"  UserKnownHostsFile {places.known_hosts}",
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        "  PasswordAuthentication no",
        "  ConnectTimeout 10",
        "  ServerAliveInterval 15",
        "  ControlMaster auto",
        f"  ControlPath {_control_path(places)}",
        "  ControlPersist 60",
        "  LogLevel ERROR",
    ]
    _replace(places.ssh_config, "\n".join(lines) + "\n")


def is_up(places: Places) -> bool:
    """Whether `up` has made hosts that `destroy` has not removed: the file by which they are reached is there."""
    return places.ssh_config.exists()


def unknown(topology: Topology, places: Places) -> list[str]:
    """Names of the nodes that the last `up` did not know, and to which there is no way yet."""
    lines = places.ssh_config.read_text().splitlines() if places.ssh_config.exists() else []
    known = {word for line in lines if line.startswith("Host ") for word in line.split()[1:]}
    return [node.name for node in topology.nodes if node.name not in known]


def close(topology: Topology, places: Places) -> None:
    """End the shared connections, so that none is left after `destroy` or after hosts were replaced."""
    if not places.ssh_config.exists():
        return
    for node in topology.nodes:
        command = ["ssh", "-F", str(places.ssh_config), "-O", "exit", node.name]
        subprocess.run(command, capture_output=True, check=False)


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if " " in line] if file.exists() else []


def _replace(file: Path, text: str) -> None:
    """Write whole or not at all; unchanged files keep their time."""
    if file.exists() and file.read_text() == text:
        return
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    scratch.write_text(text)
    scratch.rename(file)
