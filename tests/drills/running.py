# SPDX-License-Identifier: Apache-2.0
"""What several drills need of a running lab: the command line as a person uses it, the hosts' files, a party in the CRM."""

import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from jinku.model import Topology, load_environment
from jinku.places import Places

JINKU = Path(sys.executable).with_name("jinku")
ENVIRONMENT = load_environment(os.environ.get("JINKU_ENV") or "lab")
TOPOLOGY = Topology.of(ENVIRONMENT)
PLACES = Places(ENVIRONMENT.name)
#: What Jinku or the system itself writes anew while it works: leaves that are renewed, AIDE's marks.
MOVING = ("/etc/jinku/tls/", "/etc/jinku/identity/", "/etc/aide/", "/etc/jinku/crm/pgpass", "/etc/ld.so.cache")
_FILES = "sudo find /etc /usr/local /usr/lib/jinku -xdev -type f -printf '%p %i %T@ %m %u\\n' 2>/dev/null; true"
AS_THE_CRM = "sudo runuser -u tryton -g tryton -G jinku-tls -- env TZ=UTC python3 -"
_PARTIES = """
import os, sys
sys.path.insert(0, "/usr/lib/jinku/crm")
os.environ["TRYTOND_CONFIG"] = "/etc/jinku/crm/trytond.conf"
from jinku_crm import pool
def work(objects):
    parties = objects.get("party.party")
    if MAKE:
        parties.create([{"name": NAME}])
    print("found", len(parties.search([("name", "=", NAME)])))
pool.run("crm", work)
"""


def jinku(*words: str, env: str | Path = "") -> subprocess.CompletedProcess[str]:
    """Run a verb on the environment (or on ``env``); both outputs in ``stdout``."""
    variables = {**os.environ, **({"JINKU_ENV": str(env)} if env else {})}
    return subprocess.run(
        [JINKU, *words], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=variables, check=False
    )


def on(node: str, command: str, given: str = "") -> str:
    """Output of a shell command on a node. :raises AssertionError: it failed."""
    words = ["ssh", "-F", str(PLACES.ssh_config), node, command]
    done = subprocess.run(words, input=given, text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, f"{node}: {command[:80]}: {done.stderr[-1500:]}"
    return done.stdout


def files(node: str) -> dict[str, str]:
    """Every file of settings and programs of a node, with what changes when somebody writes it."""
    lines = (line.partition(" ") for line in on(node, _FILES).splitlines())
    return {path: rest for path, _, rest in lines if not path.startswith(MOVING)}


def party(name: str, *, make: bool = False) -> int:
    """How many parties of that name the CRM has; ``make``: after one more was made."""
    program = f"MAKE, NAME = {make!r}, {name!r}\n{_PARTIES}"
    said = on(TOPOLOGY.nodes_of("crm")[0].name, AS_THE_CRM, program)
    return int(said.split("found ")[1].split()[0])


def edge_answers(address: str) -> bool:
    """Whether the CRM's page comes through the edge at that address; certificate verified, only its name is in no DNS."""
    context = ssl.create_default_context(cafile=str(PLACES.pki / "root.pem"))
    name = TOPOLOGY.nodes_of("edge")[0].aliases[0]
    request = urllib.request.Request(f"https://{address}/", headers={"Host": name})
    try:
        with urllib.request.urlopen(request, context=context, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
