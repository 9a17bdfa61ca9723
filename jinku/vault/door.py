# SPDX-License-Identifier: Apache-2.0
"""The way to the vault: an SSH forward over the bastion, TLS verified against the root, an operator's certificate."""

import contextlib
import getpass
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hvac
import requests
from hvac.exceptions import VaultError as HvacError
from requests.adapters import HTTPAdapter

from jinku.pki import Authority
from jinku.vault.fleet import Fleet

__all__ = ["Door", "VaultError", "logged_in", "manager", "operator", "through_the_bastion"]

_FORWARD_SECONDS = 20


class VaultError(Exception):
    """The vault cannot be reached, is sealed, or refuses; the text says what to do."""


class _NamedServer(HTTPAdapter):
    """Verifies the server under its own name while the connection goes to the near end of a forward."""

    def __init__(self, server_name: str) -> None:
        self._server_name = server_name
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, server_hostname=self._server_name, assert_hostname=self._server_name, **more)


@dataclass(frozen=True)
class Door:
    """Where the vault answers: `url` to connect to, `server_name` its certificate must carry, `root` that signed it."""

    url: str
    server_name: str
    root: Path

    def client(self, certificate: tuple[Path, Path] | None = None, token: str = "") -> hvac.Client:
        """Return an hvac client; `certificate` is (certificate, key) to present. Nothing is taken from VAULT_*."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.root)
        if certificate:
            session.cert = (str(certificate[0]), str(certificate[1]))
        session.mount("https://", _NamedServer(self.server_name))
        return hvac.Client(url=self.url, token=token, session=session, timeout=30)

    def health(self) -> dict[str, Any]:
        """Return sys/health: initialized, sealed, cluster_id ... Raises VaultError when nothing answers."""
        # no client of hvac: it would look for a token
        session = self.client().session
        try:
            answer = session.get(f"{self.url}/v1/sys/health", timeout=10)
        except requests.RequestException as error:
            raise VaultError(f"{self.server_name}: no answer; start the vault on its host ({error})") from error
        found: dict[str, Any] = answer.json()
        return found

    def wait_until_active(self, seconds: float = 60) -> dict[str, Any]:
        """Return sys/health once the vault is unsealed and leads; raises VaultError when that takes longer."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = self.health()
                if found["initialized"] and not found["sealed"] and not found["standby"]:
                    return found
                state = (
                    "sealed; the operators open it, each with a share (`jinku unseal`)"
                    if found["sealed"]
                    else "without a leader"
                )
            except VaultError as error:
                state = str(error)
            if time.monotonic() > deadline:
                raise VaultError(f"{self.server_name}: {state}")
            time.sleep(0.3)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def through_the_bastion(fleet: Fleet, config: Path | None = None) -> Iterator[Door]:
    """Open an SSH forward over the bastion to the (first) vault, and yield the Door at its near end.

    `config`: the SSH client's configuration to go by; the automation account's, if none is given.
    The near end listens on loopback for as long as the block runs. Raises VaultError when the forward does not come up.
    """
    vaults, bastions = fleet.of_tier("vault"), fleet.of_tier("bastion")
    if not vaults or not bastions:
        raise VaultError(f"{fleet.environment}: nodes: no vault or no bastion; a profile with both tiers")
    port = _free_port()
    forward = f"127.0.0.1:{port}:{vaults[0].address}:{fleet.port}"
    command = ["ssh", "-F", str(config or fleet.state / "ssh" / "config"), "-o", "ExitOnForwardFailure=yes"]
    # no shared connection: its end would not be ours to decide
    command += ["-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "BatchMode=yes", "-N", "-L", forward]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([*command, bastions[0].name], stdin=subprocess.DEVNULL, stderr=errors)
        try:
            _wait_for_forward(process, port, bastions[0].name, errors)
            yield Door(f"https://127.0.0.1:{port}", fleet.vault_name, fleet.state / "pki" / "root.pem")
        finally:
            process.terminate()
            process.wait()


def _wait_for_forward(process: subprocess.Popen[bytes], port: int, bastion: str, errors: Any) -> None:
    deadline = time.monotonic() + _FORWARD_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            errors.seek(0)
            raise VaultError(f"{bastion}: no forward to the vault; {errors.read().strip() or 'no answer'}")
        time.sleep(0.05)


@contextlib.contextmanager
def logged_in(
    door: Door, certificate: bytes, key: bytes, enter: Callable[[hvac.Client], str], refused: str
) -> Iterator[hvac.Client]:
    """A client that shows a certificate (both PEM) and holds the token that `enter` gets with it; the token is revoked at the end.

    Key and certificate live in a folder (0700) that is removed at the end.
    :param refused: what was tried, and after "; " what would be right; the vault's words go between.
    :raises VaultError: the vault refuses, or does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="jinku-login-") as folder:
        paths = (Path(folder, "certificate.pem"), Path(folder, "key.pem"))
        for path, content in zip(paths, (certificate, key), strict=True):
            path.touch(0o600)
            path.write_bytes(content)
        client = door.client(paths)
        tried, _, right = refused.partition("; ")
        try:
            client.token = enter(client)
        except HvacError as error:
            raise VaultError(f"{door.server_name}: {tried} is refused ({error}); {right}") from error
        except requests.RequestException as error:
            raise VaultError(f"{door.server_name}: {tried} got no answer ({error}); `jinku status`") from error
        try:
            yield client
        finally:
            with contextlib.suppress(HvacError, requests.RequestException):
                client.auth.token.revoke_self()


@contextlib.contextmanager
def operator(fleet: Fleet, door: Door, duty: str) -> Iterator[hvac.Client]:
    """Log in with an operator's certificate of one hour for `duty`, yield the client, revoke its token at the end.

    Raises VaultError when the vault refuses.
    """
    authority = Authority(fleet.state / "pki", "operators")
    name = os.environ.get("SUDO_USER") or getpass.getuser()
    certificate, key = authority.mint_operator(name, duty)

    def enter(client: hvac.Client) -> str:
        return str(client.write_data("auth/operators/login", data={"name": duty})["auth"]["client_token"])

    right = f"the operators' authority in {authority.folder} must be the one this vault was set up with"
    with logged_in(door, certificate, key, enter, f"login of {name} as {duty}; {right}") as client:
        yield client


def manager(fleet: Fleet, door: Door) -> contextlib.AbstractContextManager[hvac.Client]:
    """Log in as the manager: may change policies, roles and authorities, and read no application's secret."""
    return operator(fleet, door, "manager")
