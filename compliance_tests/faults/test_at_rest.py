# SPDX-License-Identifier: Apache-2.0
"""A customer written through the CRM is on no disk: not the name in the database's volume, not the file in the attachments'. ``-m fault``."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from crm_client import Crm

from jinku.model import Topology
from jinku.places import Places

pytestmark = pytest.mark.fault
SEARCH = Path(__file__).resolve().parent.parent / "asked/raw_search.py"


def found(image: Path, *texts: str) -> list[int]:
    """How often each text stands in an image, as it lies on the disk; the last number is the bytes looked at."""
    done = subprocess.run([sys.executable, SEARCH, image, *texts], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.fixture
def on(places: Places) -> Callable[[str, str], str]:
    """``on("db1", "command")``: what a command, run as root, prints; it must succeed."""

    def ask(node: str, command: str) -> str:
        words = ["ssh", "-F", str(places.ssh_config), node, "sudo sh -c " + "'" + command.replace("'", "'\\''") + "'"]
        done = subprocess.run(words, text=True, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, f"{node}: {command}: {done.stderr}"
        return done.stdout

    return ask


def test_a_customer_is_not_readable_on_any_disk(
    crm: Crm,
    account: Callable[[str], None],
    login: str,
    password: str,
    topology: Topology,
    places: Places,
    on: Callable[[str, str], str],
) -> None:
    account("own")
    crm.login(login, password)
    context = crm.call("model.res.user.get_preferences", True, {})
    name, content = f"canary {secrets.token_hex(16)}", f"canary {secrets.token_hex(16)}"
    (party,) = crm.call("model.party.party.create", [{"name": name}], context)
    attachment = {
        "name": "canary.txt",
        "type": "data",
        "resource": f"party.party,{party}",
        "data": (content * 500).encode(),
    }
    crm.call("model.ir.attachment.create", [attachment], context)
    try:
        database, application = topology.nodes_of("postgres")[0], topology.nodes_of("crm")[0]
        on(database.name, "runuser -u postgres -- psql -qc CHECKPOINT && sync")
        on(application.name, "sync")
        # Opened, each volume does hold it: else its absence below would prove nothing.
        for node, text in ((database, name), (application, content)):
            (volume,) = node.volumes
            assert on(node.name, f'grep -rlFm1 "{text}" {volume.mount}'), (
                f"{volume.name} does not hold it even when it is open"
            )
        for node in topology.nodes:
            for volume in node.volumes:
                marker = on(node.name, f"grep identifier /run/jinku/volumes/{volume.name}/jinku-volume.json").split(
                    '"'
                )[3]
                image = places.lab / "volumes" / node.site / f"{volume.name}.ext4"
                in_clear, of_file, known, looked = found(image, name, content, marker)
                assert known, f"{volume.name}: the search found nothing at all in {looked} bytes"
                assert (in_clear, of_file) == (0, 0), f"{volume.name}: the customer is readable on the disk"
    finally:
        crm.call("model.party.party.write", [party], {"active": False}, context)


def test_the_search_finds_what_is_not_encrypted(tmp_path: Path) -> None:
    image, text = tmp_path / "image.ext4", f"canary {secrets.token_hex(16)}"
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text(text)
    subprocess.run(["truncate", "-s", "64M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-d", tmp_path / "tree", image], check=True)
    assert found(image, text)[0] == 1
