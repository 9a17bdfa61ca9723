# SPDX-License-Identifier: Apache-2.0
"""A vault and its machines on loopback, from the roles' own templates and scripts, in a temporary folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
import pytest

from jinku.model.people import principal
from jinku.ssh_access import ensure_key
from jinku.vault import Door, Fleet, operator

ROLES = Path(__file__).resolve().parent.parent.parent / "roles"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def node(name: str, address: str, tiers: list[str], aliases: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "fqdn": f"{name}.test.jinku",
        "address": address,
        "address6": None,
        "tiers": tiers,
        "aliases": [f"{alias}.test.jinku" for alias in aliases],
    }


#: One of each duty.
PEOPLE = {"li-na": "system", "wang-fang": "audit", "zhang-wei": "security"}


def person(folder: Path, name: str, duty: str) -> dict[str, Any]:
    """What the inventory says of a person, whose new key lies in ``folder``."""
    keys = [ensure_key(folder / "people" / name, name)]
    return {"name": name, "duty": duty, "state": "present", "keys": keys, "principal": principal(name, duty, keys)}


@dataclass
class World:
    """An environment with a vault of its own on loopback; `variables` are what the inventory would give."""

    folder: Path
    bao: Path
    variables: dict[str, Any]
    fleet: Fleet
    door: Door
    process: subprocess.Popen[bytes] | None = None

    def render(self, role: str, path: str, **more: Any) -> str:
        """Return a role's template, with its folders moved into the temporary one."""
        # it renders configuration, not HTML
        environment = jinja2.Environment(  # noqa: S701
            trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
        )
        text = environment.from_string((ROLES / role / "templates" / f"{path}.j2").read_text())
        rendered = text.render({**self.variables, **more})
        for place in ("/etc/openbao", "/var/lib/openbao", "/var/log/openbao", "/etc/jinku"):
            rendered = rendered.replace(place, f"{self.folder}{place}")
        return rendered

    def start(self) -> None:
        """Start the server and wait until its port answers."""
        log = (self.folder / "server.log").open("ab")
        config = self.folder / "etc/openbao/openbao.hcl"
        self.process = subprocess.Popen([self.bao, "server", f"-config={config}"], stdout=log, stderr=log)
        for _ in range(100):
            try:
                self.door.health()
            except Exception:  # noqa: BLE001 - whatever it is, it is not up yet
                time.sleep(0.1)
            else:
                return
        pytest.fail((self.folder / "server.log").read_text()[-2000:])

    def seal(self) -> None:
        """Seal the vault as the security administrator does, and wait until it is.

        Only where SEAL is shamir: one that is opened by a static key opens itself again within seconds.
        """
        with operator(self.fleet, self.door, "recovery") as client:
            client.write_data("sys/seal", data={})
        for _ in range(200):
            if self.door.health()["sealed"]:
                return
            time.sleep(0.05)
        pytest.fail("not sealed after 10 s")

    def open(self) -> None:
        """Open the vault with three shares."""
        shares = json.loads((self.fleet.state / "vault/recovery.json").read_text())["shares"]
        for share in shares[:3]:
            self.door.client().adapter.put("/v1/sys/unseal", json={"key": share})
        self.door.wait_until_active(20)

    def stop(self) -> None:
        """End the server as systemd would."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
            self.process = None


@dataclass
class Host:
    """A machine's /etc/jinku in a folder of its own, with the role's script and the agent's configuration."""

    world: World
    name: str
    etc: Path

    def enrol(self, verb: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run jinku-enrol on this machine, `given` on its standard input."""
        script = ROLES / "enrol/files/usr/local/sbin/jinku-enrol"
        environment = {**os.environ, "JINKU_ETC": str(self.etc)}
        command = [sys.executable, str(script), verb]
        return subprocess.run(
            command, env=environment, input=given, capture_output=True, text=True, check=False, timeout=60
        )

    def variables(self) -> dict[str, Any]:
        """Return the inventory's variables of this machine."""
        (own,) = (host for host in self.world.variables["jinku_hosts"] if host["name"] == self.name)
        return {**self.world.variables, "jinku_node": own}

    def ship(self) -> None:
        """Do what the role's tree task does."""
        for folder in ("identity", "agent.d", "tls", "tls-reload.d"):
            (self.etc / folder).mkdir(parents=True, exist_ok=True)
        moved = replace(self.world, folder=self.etc.parent.parent, variables=self.variables())
        for path in ("enrol.json", "agent.d/00-agent.hcl"):
            text = moved.render("enrol", f"etc/jinku/{path}")
            text = text.replace('"address": "vault.test.jinku"', '"address": "127.0.0.1"')
            text = text.replace('"group": "jinku-tls"', '"group": "root"')
            text = text.replace("https://vault.test.jinku", "https://127.0.0.1")
            text = text.replace(
                '["/usr/local/sbin/jinku-enrol"',
                f'["env", "JINKU_ETC={self.etc}", "{sys.executable}", "{ROLES}/enrol/files/usr/local/sbin/jinku-enrol"',
            )
            (self.etc / path).write_text(text)
        (self.etc / "identity/root.pem").write_text(self.world.door.root.read_text())
