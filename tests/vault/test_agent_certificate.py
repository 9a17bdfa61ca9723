# SPDX-License-Identifier: Apache-2.0
"""The agent of an enrolled machine: it keeps the certificate fresh, and calls whoever serves with it."""

import stat
import subprocess
import time
from pathlib import Path

import pytest
from enrolled_host import HostAt, agent, enrolled, names_of, wait_for
from vault_world import Host, World

from jinku.pki import remaining_days
from jinku.vault import configure, manager

pytestmark = pytest.mark.openbao


def hook(host: Host, name: str, body: str) -> None:
    path = host.etc / "tls-reload.d" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def seconds_left(path: Path) -> float:
    return remaining_days(path.read_bytes()) * 86400


def verified(host: Host) -> str:
    tls = host.etc / "tls"
    command = ["openssl", "verify", "-x509_strict", "-CAfile", tls / "ca.pem", tls / "host.pem"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def test_the_agent_writes_the_certificate_and_calls_the_hooks(ready: World, host_at: HostAt) -> None:
    host = enrolled(host_at("crm1"), ready)
    hook(host, "10-test", f"touch {host.etc}/called")
    hook(host, "05-broken", "exit 3")
    with agent(host):
        wait_for((host.etc / "called").exists, host)
        wait_for((host.etc / "tls/reload.failed").exists, host)  # written after the last hook
    leaf = (host.etc / "tls/host.pem").read_bytes()
    assert names_of(leaf) == (["app.test.jinku", "crm1.test.jinku"], ["127.0.0.1"])
    assert stat.S_IMODE((host.etc / "tls/host.key").stat().st_mode) == 0o640
    assert (host.etc / "tls/ca.pem").read_text().count("BEGIN CERTIFICATE") == 2
    assert leaf.count(b"BEGIN CERTIFICATE") == 2
    assert (host.etc / "tls/reload.failed").read_text() == "05-broken\n"
    assert verified(host) == ""


def test_an_agent_that_starts_again_keeps_a_good_certificate(ready: World, host_at: HostAt) -> None:
    """Otherwise each start of a host would reload every service."""
    host = enrolled(host_at("crm1"), ready)
    leaf = host.etc / "tls/host.pem"
    with agent(host):
        wait_for(leaf.exists, host)
    before = leaf.read_bytes()
    hook(host, "10-test", f"touch {host.etc}/called")
    with agent(host):
        time.sleep(3)
    assert leaf.read_bytes() == before
    assert not (host.etc / "called").exists()


def test_a_certificate_is_renewed_before_its_end_and_after_a_cold_spell(ready: World, host_at: HostAt) -> None:
    """Vault and host are both off until the certificate is over; then on: nobody does anything."""
    host = enrolled(host_at("crm1"), ready)
    leaf = host.etc / "tls/host.pem"
    with manager(ready.fleet, ready.door) as client:
        client.write_data(
            "pki_int/roles/host-crm1", data={**client.read("pki_int/roles/host-crm1")["data"], "max_ttl": 8, "ttl": 8}
        )
    with agent(host):
        wait_for(leaf.exists, host)
        first = leaf.read_bytes()
        wait_for(lambda: leaf.read_bytes() != first, host)
        assert seconds_left(leaf) > 0
    ready.stop()
    last = leaf.read_bytes()
    with agent(host):
        wait_for(lambda: seconds_left(leaf) < 0, host)
        ready.start()
        wait_for(lambda: leaf.read_bytes() != last and seconds_left(leaf) > 0, host, 60)
    assert verified(host) == ""
    with manager(ready.fleet, ready.door) as client:
        assert configure(ready.fleet, client) == ["pki_int/roles/host-crm1"]


def test_a_template_of_a_tier_is_rendered_beside_the_certificate(ready: World, host_at: HostAt) -> None:
    """And one that cannot be rendered yet (its secret is made later in a run) holds up nothing else."""
    host = enrolled(host_at("crm1"), ready)
    source = '{{ with secret "auth/token/lookup-self" }}{{ .Data.display_name }}{{ end }}'
    for name, contents in (
        ("good", source),
        ("early", source.replace("auth/token/lookup-self", "database/static-creds/crm")),
    ):
        text = f'template {{\n  destination = "{host.etc}/{name}"\n  contents = "{contents.replace(chr(34), chr(92) + chr(34))}"\n}}\n'
        (host.etc / f"agent.d/{name}.hcl").write_text(text)
    with agent(host):
        wait_for((host.etc / "good").exists, host)
        wait_for((host.etc / "tls/host.pem").exists, host)
    assert "crm1" in (host.etc / "good").read_text()
    assert not (host.etc / "early").exists()
