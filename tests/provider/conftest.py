# SPDX-License-Identifier: Apache-2.0
"""One small environment for each module, made for its first test and removed after its last: making it for each test would only cost time."""

import asyncio
import os
import subprocess

import pytest
from provider_world import ENV, NETWORK, ROUTER, VOLUME, Engine, machine

from jinku.places import cache_root
from stacks.provider.lab import leftovers


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    state = tmp_path_factory.mktemp("state")
    before = machine()
    old = os.environ.get("JINKU_STATE_DIR")
    os.environ["JINKU_STATE_DIR"] = str(state)
    try:
        yield Engine()
        asyncio.run(leftovers.sweep(ENV, with_volumes=True))
        assert asyncio.run(leftovers.leftovers(ENV)) == {}
        assert machine() == before
    finally:
        asyncio.run(leftovers.sweep(ENV, with_volumes=True))
        os.environ.pop("JINKU_STATE_DIR")
        if old is not None:
            os.environ["JINKU_STATE_DIR"] = old


@pytest.fixture(scope="module")
def image(engine):
    return engine.create("Image", {"name": "base", "suite": "trixie", "cache": str(cache_root()), "packages": []})


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def inputs(image, key):
    return {
        "env": ENV,
        "site": "a",
        "name": "db1",
        "fqdn": "db1.provider.internal",
        "zone": "data",
        "image": image["path"],
        "address": "10.197.0.4/27",
        "gateway": "10.197.0.1",
        "address6": "fd97:a::4/64",
        "gateway6": "fd97:a::1",
        "volumes": [{"name": "db1-data", "mount": "/var/lib/data"}],
        "automation_key": key.with_suffix(".pub").read_text().strip(),
        "mirror": "172.29.197.1",
    }


@pytest.fixture(scope="module")
def ssh(key, tmp_path_factory):
    known = tmp_path_factory.mktemp("ssh") / "known_hosts"

    def run(state, command, address="10.197.0.4"):
        known.write_text(f"db1 {state['ssh_host_key']}\n")
        options = ["HostKeyAlias=db1", f"UserKnownHostsFile={known}", "StrictHostKeyChecking=yes", "BatchMode=yes"]
        words = [word for option in options for word in ("-o", option)]
        words = [
            "ssh",
            "-F",
            "none",
            "-i",
            str(key),
            "-o",
            "ConnectTimeout=10",
            *words,
            f"automation@{address}",
            command,
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture(scope="module")
def host(engine, inputs, ssh):
    """A host with something on its volume."""
    engine.create("Router", ROUTER)
    engine.create("Network", NETWORK)
    engine.create("Volume", VOLUME)
    made = engine.create("Host", inputs)
    ssh(made, "echo kept | sudo tee /var/lib/data/mark")
    return made
