# SPDX-License-Identifier: Apache-2.0
"""A real OpenBao on loopback for the tests of jinku.vault and of the role enrol."""

import base64
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from openpgp import PEOPLE as HOLDERS
from openpgp import gpg
from rekey_house import LATER, TEAM, House, by_itself, kept
from vault_world import PEOPLE, Host, World, free_port, node, person

from jinku.parts import PartError, unpack_part
from jinku.pki import ensure_operators, ensure_root
from jinku.places import Places, cache_root
from jinku.vault import Door, Fleet, configure, initialise, manager


@pytest.fixture(scope="module")
def vault(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server that runs and is not initialised; a module's SEAL says how it opens, static if it says nothing."""
    folder = tmp_path_factory.mktemp("vault")
    try:
        bao = unpack_part("openbao", cache_root()) / "usr/bin/bao"
    except PartError as error:
        pytest.skip(str(error))
    port = free_port()
    variables: dict[str, Any] = {
        "jinku_env": {"name": "test", "domain": "test.jinku", "disposable": True, "crm": {"database": "crm"}},
        "jinku_hosts": [
            node("sec1", "127.0.0.1", ["vault"], ["vault"]),
            node("ops1", "127.0.0.1", ["bastion", "monitor"], []),
            node("crm1", "127.0.0.1", ["crm"], ["app"]),
            node("room1", "127.0.0.1", ["room"], []),
            node("far1", "127.0.0.9", ["edge"], ["crm"]),
            node("aud2", "127.0.0.1", ["backup"], ["backup"]),
        ],
        "jinku_names": {"vault": "vault.test.jinku", "postgres": "db.test.jinku"},
        "jinku_services": {
            "vault": {"port": port},
            "vault_cluster": {"port": free_port()},
            "postgres": {"port": free_port()},
        },
        "jinku_state": str(folder / "state" / "test"),
        "jinku_outside": {"operators": ["127.0.0.0/8"]},
        "jinku_operators": [person(folder, name, duty) for name, duty in PEOPLE.items()],
    }
    variables["jinku_node"] = variables["jinku_hosts"][0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JINKU_STATE_DIR", str(folder / "state"))
        places = Places("test")
        root = ensure_root(places)
        ensure_operators(places)
    door = Door(f"https://127.0.0.1:{port}", "vault.test.jinku", root.certificate_path)
    world = World(folder, bao, variables, Fleet.of_variables(variables), door)
    for place in ("var/lib/openbao/raft", "var/lib/openbao/audit", "var/lib/openbao/seal", "var/log/openbao"):
        (folder / place).mkdir(parents=True)
    tls = folder / "etc/openbao/tls"
    tls.mkdir(parents=True)
    key = ec.generate_private_key(ec.SECP256R1())
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tls / "server.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem = csr.public_bytes(serialization.Encoding.PEM)
    (tls / "server.pem").write_bytes(root.sign_server(pem, ["vault.test.jinku"], ["127.0.0.1"], 30))
    (folder / "var/lib/openbao/seal/unseal.key").write_bytes(secrets.token_bytes(32))
    (folder / "etc/openbao/openbao.hcl").write_text(
        world.render("vault", "etc/openbao/openbao.hcl", vault_seal=getattr(request.module, "SEAL", "static"))
    )
    world.start()
    yield world
    world.stop()


@pytest.fixture(scope="module")
def ready(vault: World) -> World:
    """The same server, initialised and configured."""
    initialise(vault.fleet, vault.door)
    with manager(vault.fleet, vault.door) as client:
        configure(vault.fleet, client)
    return vault


@pytest.fixture
def host_at(ready: World, tmp_path: Path) -> Callable[[str], Host]:
    """Return a function from a machine's name to a Host that is not enrolled."""

    def make(name: str) -> Host:
        host = Host(ready, name, tmp_path / name / "etc" / "jinku")
        host.ship()
        return host

    return make


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    home = tmp_path / "g"
    home.mkdir(mode=0o700)
    for holder in HOLDERS:
        gpg(home, "--passphrase", "", "--quick-gen-key", f"{holder}@test.jinku", "default", "default", "1d")
    yield home, tuple(base64.b64encode(gpg(home, "--export", f"{holder}@test.jinku")).decode() for holder in HOLDERS)
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=True)


@pytest.fixture(scope="module")
def house(vault: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("g")
    for name in {*TEAM, *LATER}:
        (home / name).mkdir(mode=0o700)
        gpg(home / name, "--passphrase", "", "--quick-gen-key", f"{name}@test.jinku", "default", "default", "1d")
    initialise(vault.fleet, vault.door)
    with manager(vault.fleet, vault.door) as client:
        configure(vault.fleet, client)
    yield House(vault, home)
    for ring in home.iterdir():
        subprocess.run(["gpgconf", "--homedir", ring, "--kill", "gpg-agent"], check=True)


@pytest.fixture(scope="module")
def team(house: House) -> House:
    """The same with a share for each of the team, where five lay in a file before: those of the file are given without asking."""
    before = kept(house)["shares"]
    with house.rekey(*TEAM) as one:
        step = by_itself(one)
        assert (step.stage, step.given, step.needed) == ("new", 0, 2)
        assert one.own_share(step) == ""
    written = [path.read_text(errors="ignore") for path in house.folder.iterdir() if path.name != "recovery.json"]
    assert kept(house)["shares"] == before  # they hold until the new ones are tried
    assert not any(share in text for share in before for text in written)
    assert house.give(TEAM, house.share("li.wei", new=True), house.share("wang.fang", new=True)).stage == "taken"
    assert kept(house)["encrypted"]
    return house
