# SPDX-License-Identifier: Apache-2.0
"""A machine that has enrolled at the vault: as whom it logs in, and its agent, as the role enrol ships it."""

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

import pytest
from cryptography import x509
from vault_world import Host, World

from jinku.vault import manager, wrap

HostAt = Callable[[str], Host]


def bootstrap(host: Host, world: World) -> str:
    with manager(world.fleet, world.door) as client:
        made = wrap(world.fleet, client, [host.name])[host.name]
    return json.dumps(asdict(made))


def enrolled(host: Host, world: World) -> Host:
    done = host.enrol("enrol", bootstrap(host, world))
    assert done.returncode == 0, done.stderr
    return host


def names_of(pem: bytes) -> tuple[list[str], list[str]]:
    found = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(found.get_values_for_type(x509.DNSName)), [
        str(ip) for ip in found.get_values_for_type(x509.IPAddress)
    ]


def login(host: Host, world: World):  # type: ignore[no-untyped-def]
    identity = host.etc / "identity/identity.pem"
    client = world.door.client((identity, identity))
    client.token = client.write_data("auth/hosts/login", data={"name": f"host-{host.name}"})["auth"]["client_token"]
    return client


@contextlib.contextmanager
def agent(host: Host) -> Iterator[None]:
    with (host.etc.parent / "agent.log").open("ab") as log:
        process = subprocess.Popen([host.world.bao, "agent", f"-config={host.etc}/agent.d"], stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def wait_for(condition: Callable[[], bool], host: Host, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail((host.etc.parent / "agent.log").read_text()[-3000:])
        time.sleep(0.1)
