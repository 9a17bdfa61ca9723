# SPDX-License-Identifier: Apache-2.0
"""The users' certificate by ACME, on the running lab and from a real ACME service: `JINKU_ENV=lab pytest tests/acme -m acme`.

The lab is brought to `edge.certificate: acme` by `jinku up`, and back to what its environment.yaml says at the end.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from directory import Directory

from jinku.model import Topology, load_environment
from jinku.model.loading import environment_file
from jinku.model.profiles import ALIASES
from jinku.places import CHECKOUT, Places

sys.path.insert(0, str(CHECKOUT / "compliance_tests"))
from crm_client import Door

pytestmark = pytest.mark.acme
HOME = environment_file(os.environ.get("JINKU_ENV", "lab")).parent
TOPOLOGY = Topology.of(load_environment(HOME))
PLACES = Places(TOPOLOGY.env.name)
EDGE = TOPOLOGY.nodes_of("edge")[0]
NAME = f"{ALIASES['edge']}.{TOPOLOGY.env.domain}"
LIFE_S = 3600
ISSUED_S = 90
WINDOW = "/etc/apache2/jinku.d/acme-test.conf"
UNIT = "jinku-edge-certificate.service"


def jinku(env: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("jinku")), "--env", str(env), *words]
    PLACES.origin.unlink(missing_ok=True)  # a changed copy of HOME is meant to be the same environment
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    finally:
        PLACES.origin.unlink(missing_ok=True)


def on_edge(command: str) -> str:
    words = ["ssh", "-F", str(PLACES.ssh_config), EDGE.name, "sudo", "sh", "-c", f"'{command}'"]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def until(seconds: float, true: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(1)
    return True


def renewing(challenge: str) -> None:
    """Have mod_md order a new certificate at once, though nearly the whole life of the present one is left."""
    on_edge(
        f'printf "MDRenewWindow {LIFE_S - 5}s\\nMDCAChallenges {challenge}\\n" > {WINDOW} && systemctl reload apache2'
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Directory]:
    found = Directory(tmp_path_factory.mktemp("directory"), str(TOPOLOGY.env.lab.wan[1]), str(EDGE.address))
    yield found.start(life_s=LIFE_S)
    found.stop()


@pytest.fixture(scope="module")
def door(directory: Directory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The lab with the certificate by ACME, as its users see it; taken back afterwards."""
    env = tmp_path_factory.mktemp("env")
    choices = yaml.safe_load((HOME / "environment.yaml").read_text(encoding="utf-8"))
    choices["edge"] = {
        "certificate": "acme",
        "acme_directory": directory.url,
        "acme_contact": f"it@{TOPOLOGY.env.domain}",
        "authorities": directory.authorities(),
    }
    (env / "environment.yaml").write_text(yaml.safe_dump(choices, allow_unicode=True), encoding="utf-8")
    shutil.copy(HOME / "controls.yaml", env)
    on_edge("rm -rf /var/lib/apache2/md")
    try:
        done = jinku(env, "up")
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        yield Door.of(Topology.of(load_environment(env)), PLACES)
    finally:
        on_edge(f"rm -f {WINDOW}")
        back = jinku(HOME, "up")
        on_edge("rm -rf /var/lib/apache2/md/*")
        assert back.returncode == 0, back.stdout[-4000:] + back.stderr[-2000:]


def serial(door: Door) -> str:
    """Serial number of the certificate that the door shows, which must hold for its name and under its authority."""
    import socket

    with (
        socket.create_connection((door.address, door.port), timeout=10) as plain,
        door.context().wrap_socket(plain, server_hostname=door.name) as wrapped,
    ):
        shown = wrapped.getpeercert()
        assert shown
        return str(shown["serialNumber"])


def failed_units() -> str:
    nodes = json.loads(jinku(HOME, "status", "--json").stdout)["nodes"]
    return str(next(node["failed_units"] for node in nodes if node["name"] == EDGE.name))


def test_up_brings_the_first_certificate(door: Door) -> None:
    """From nothing: the edge runs before it has one, orders it, and users who trust the named authority are served."""
    assert serial(door)
    assert door.request("GET", "/").status == 200
    on_edge(f"systemctl start {UNIT}")
    assert UNIT not in failed_units()


def test_the_redirect_is_whole(door: Door) -> None:
    """Port 80 answers the authority's question and nothing else but the redirect."""
    import http.client

    for path, right in (("/", {301}), ("/.well-known/acme-challenge/unknown", {301, 404})):
        plain = http.client.HTTPConnection(door.address, 80, timeout=10)
        plain.request("GET", path, headers={"Host": door.name})
        answer = plain.getresponse()
        assert answer.status in right, path
        plain.close()


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_a_renewal_is_taken_over_by_itself(door: Door, challenge: str) -> None:
    """By either way of proof; while it happens every request is answered."""
    before, failures = serial(door), []
    renewing(challenge)

    def renewed() -> bool:
        try:
            door.request("GET", "/")
        except OSError as error:
            failures.append(repr(error))
        return serial(door) != before

    assert until(ISSUED_S, renewed), on_edge("journalctl -q -t apache --since=-3min | tail -30")
    on_edge(f"rm -f {WINDOW} && systemctl reload apache2")
    assert not failures


def test_a_refusal_is_told_and_the_old_certificate_serves(door: Door, directory: Directory) -> None:
    """The service refuses the name: the status names the unit, its journal says why, and users notice nothing."""
    directory.stop()
    directory.start(life_s=LIFE_S, refused=(NAME,))
    renewing("http-01")
    assert until(ISSUED_S, lambda: UNIT in failed_units())
    said = on_edge(f"journalctl -q -u {UNIT} --since=-3min -o cat")
    assert f"no certificate for {NAME}" in said
    assert "rejectedIdentifier" in said
    assert serial(door), "the certificate under the authority of before does not serve any more"
    assert door.request("GET", "/").status == 200
    assert EDGE.name in jinku(HOME, "status").stdout
