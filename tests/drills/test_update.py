# SPDX-License-Identifier: Apache-2.0
"""Packages of an older version on three hosts: `update` rolls, users hardly notice, data stays; a broken package stops it. Lab only."""

import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from running import ENVIRONMENT, PLACES, TOPOLOGY, edge_answers, jinku, on, party

from jinku.cli.exit_codes import ExitCode
from jinku.model import environment_file

pytestmark = [
    pytest.mark.long_drill,
    pytest.mark.skipif(ENVIRONMENT.backend != "lab", reason="only on the lab's hosts may a test change packages"),
]
#: One of each tier that a user's request goes through: on `small` each is the only one, and restarts its service.
TIERS = ("postgres", "crm", "edge")
#: What the restart of one host of a tier may cost: nobody may wait longer, and all of them together no longer than that, seconds.
LONGEST_GAP, ALL_GAPS = 60.0, 150.0
EVERY = 0.5
CANARY = "jinku-drill-canary"

# Takes a package back to the version that the release has, where the archive has a newer one and nothing else must follow it; first what a
# running program executes, so that services run old code. Else a package without programs is packed anew as an older one. Prints name, older and newer version.
_DOWNGRADE = r"""
cat >/tmp/drill.py <<'END'
import apt, glob, subprocess
executed, found = set(), []
for maps in glob.glob("/proc/[0-9]*/maps"):
    try:
        executed |= {line.split()[-1] for line in open(maps) if " r-xp " in line}
    except OSError:
        pass
for package in apt.Cache():
    if package.is_installed:
        older = [v for v in package.versions if v < package.installed and v.downloadable]
        if older:
            found.append((executed.isdisjoint(package.installed_files), package.name, max(older).version, package.installed.version))
for _, name, old, new in sorted(found):
    words = ["apt-get", "--simulate", "install", "--allow-downgrades", f"{name}={old}"]
    done = subprocess.run(words, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("Inst ", "Remv "))]
    if done.returncode == 0 and len(lines) == 1:
        print(name, old, new)
        break
END
set -e
export DEBIAN_FRONTEND=noninteractive
set -- $(python3 /tmp/drill.py)
rm /tmp/drill.py
if [ $# = 3 ]; then
    apt-get -qq -y --allow-downgrades -o Dpkg::Options::=--force-confold install "$1=$2" >/dev/null
else
    cd "$(mktemp -d)"
    chmod 0755 .
    new=$(dpkg-query -W -f '${Version}' netbase)
    apt-get -qq download netbase
    dpkg-deb -R netbase_*.deb tree
    sed -i 's/^Version: .*/Version: 0~drill/' tree/DEBIAN/control
    dpkg-deb -b tree older.deb >/dev/null
    dpkg --force-downgrade --force-confold -i older.deb >/dev/null 2>&1
    set -- netbase '0~drill' "$new"
fi
echo "$@"
"""

# An archive of the host's own that has a second version of a package, whose postinst fails; the first is installed.
_BROKEN = r"""
set -e
rm -rf /var/tmp/jinku-drill
mkdir -p /var/tmp/jinku-drill
cd /var/tmp/jinku-drill
for version in 1 2; do
    mkdir -p tree/DEBIAN
    printf 'Package: jinku-drill\nVersion: %s\nArchitecture: all\nMaintainer: drill <drill@example.org>\nDescription: drill\n' $version >tree/DEBIAN/control
    printf '#!/bin/sh\nexit %s\n' $((version - 1)) >tree/DEBIAN/postinst
    chmod 0755 tree/DEBIAN/postinst
    dpkg-deb -b tree jinku-drill_$version.deb >/dev/null
done
dpkg -i jinku-drill_1.deb >/dev/null
{
    cat tree/DEBIAN/control
    printf 'Filename: ./jinku-drill_2.deb\nSize: %s\nSHA256: %s\n\n' "$(stat -c %s jinku-drill_2.deb)" \
        "$(sha256sum jinku-drill_2.deb | cut -d' ' -f1)"
} >Packages
chmod -R a+rX .
echo 'deb [trusted=yes] file:/var/tmp/jinku-drill ./' >/etc/apt/sources.list.d/jinku-drill.list
"""
_MENDED = (
    "rm -rf /var/tmp/jinku-drill /etc/apt/sources.list.d/jinku-drill.list;"
    " ! dpkg-query -W jinku-drill >/dev/null 2>&1 || dpkg --purge --force-all jinku-drill >/dev/null; apt-get -qq update"
)


@dataclass
class Asked:
    """What a user met who asked all the time. ``gaps``: seconds from a request that failed to the next that did not."""

    requests: int = 0
    failed: int = 0
    gaps: list[float] = field(default_factory=list)


@contextmanager
def a_user_who_asks() -> Iterator[Asked]:
    """Ask the CRM through the edge twice a second while the block runs."""
    asked, ended = Asked(), threading.Event()

    def ask() -> None:
        since: float | None = None
        while not ended.is_set():
            begun = time.monotonic()
            well = edge_answers()
            asked.requests += 1
            asked.failed += not well
            if not well and since is None:
                since = begun
            elif well and since is not None:
                asked.gaps.append(time.monotonic() - since)
                since = None
            ended.wait(EVERY)
        if since is not None:
            asked.gaps.append(time.monotonic() - since)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield asked
    finally:
        ended.set()
        thread.join()


def as_root(node: str, script: str) -> str:
    return on(node, "sudo sh -s", script)


def version(node: str, package: str) -> str:
    return on(node, f"dpkg-query -W -f '${{Version}}' {package}")


def boot(node: str) -> str:
    """Which start of the machine runs."""
    return on(node, "cat /proc/sys/kernel/random/boot_id").strip()


def names_of_all() -> list[str]:
    return [node.name for node in TOPOLOGY.nodes]


def canaries(content: str = "") -> dict[str, str]:
    """Content, place on the disk and time of a file on each volume; ``content``: write it there before."""
    found = {}
    for volume in TOPOLOGY.volumes:
        file = f"{volume.mount}/{CANARY}"
        if content:
            as_root(volume.node, f"echo {content} >{file}")
        found[volume.name] = as_root(volume.node, f"cat {file}; stat -c '%i %Y %d' {file}").strip()
    return found


@pytest.fixture
def up_to_date() -> Iterator[None]:
    """All hosts have the newest packages; what the drill leaves is taken away."""
    first = jinku("update")
    assert first.returncode == ExitCode.OK, first.stdout
    yield
    for volume in TOPOLOGY.volumes:
        as_root(volume.node, f"rm -f {volume.mount}/{CANARY}")
    for node in TOPOLOGY.nodes_of("crm"):
        as_root(node.name, _MENDED)


@pytest.mark.usefixtures("up_to_date")
def test_a_security_update_rolls_through_layers_and_hosts_keep_their_data() -> None:
    name = f"drill {secrets.token_hex(4)}"
    assert party(name, make=True) == 1
    before = canaries(secrets.token_hex(8))
    nodes = [TOPOLOGY.nodes_of(tier)[0].name for tier in TIERS]
    older = {node: as_root(node, _DOWNGRADE).split() for node in nodes}
    print(json.dumps(older))
    assert all(version(node, words[0]) == words[1] for node, words in older.items())

    listed = jinku("update", "--list")
    assert listed.returncode == ExitCode.OK, listed.stdout
    for node, (package, old, new) in older.items():
        assert f"{node}\t{package}\t{old}\t{new}\t" in listed.stdout, listed.stdout
        assert version(node, package) == old, "a list changes nothing"

    with a_user_who_asks() as asked:
        rolled = jinku("update")
    print(rolled.stdout, asked)
    assert rolled.returncode == ExitCode.OK, rolled.stdout
    for node, (package, old, new) in older.items():
        assert version(node, package) == new
        assert re.search(rf"{node}: {package}(:\w+)? {re.escape(f'{old} -> {new}')}", rolled.stdout)
    assert max(asked.gaps, default=0.0) <= LONGEST_GAP, asked
    assert sum(asked.gaps) <= ALL_GAPS, asked

    assert party(name) == 1, "the row is gone"
    assert canaries() == before
    for node in nodes:
        as_root(node, "systemctl start jinku-integrity")  # the differences were taken in
    again = jinku("update")
    assert (again.returncode, "nothing to update" in again.stdout) == (ExitCode.OK, True), again.stdout
    assert jinku("status").returncode == ExitCode.OK
    line = json.loads(PLACES.journal.read_text().splitlines()[-2])
    assert (line["verb"], line["ok"], sorted(host["node"] for host in line["hosts"])) == ("update", True, sorted(nodes))
    log = TOPOLOGY.nodes_of("log")[0].name
    assert older[nodes[0]][0] in as_root(log, "grep -rhs jinku-updates /var/log/remote | tail -n 200"), "not on record"


@pytest.fixture
def may_restart(tmp_path: Path) -> Path:
    """The same environment, whose machines may be restarted."""
    folder = environment_file(os.environ.get("JINKU_ENV") or "lab").parent
    made = tmp_path / ENVIRONMENT.name
    shutil.copytree(folder, made)
    file = made / "environment.yaml"
    told = {**yaml.safe_load(file.read_text()), "updates": {"reboot": True}}
    file.write_text(yaml.safe_dump(told, allow_unicode=True))
    return made


@pytest.mark.usefixtures("up_to_date")
def test_machines_that_must_restart_do_so_one_at_a_time_and_keep_their_data(may_restart: Path) -> None:
    """The way in, the vault and a database among them: what the roll itself goes through, and what opens the volumes."""
    nodes = [TOPOLOGY.nodes_of(tier)[0].name for tier in ("vault", "postgres", "bastion")]
    before, kept = {node: boot(node) for node in names_of_all()}, canaries(secrets.token_hex(8))
    for node in nodes:
        as_root(node, "touch /run/reboot-required")

    with_no_word = jinku("update")
    assert with_no_word.returncode == ExitCode.OK, with_no_word.stdout
    assert "nothing to update" in with_no_word.stdout
    assert {node: boot(node) for node in names_of_all()} == before, "nobody said that a machine may be restarted"

    rolled = jinku("update", env=may_restart)
    print(rolled.stdout)
    assert rolled.returncode == ExitCode.OK, rolled.stdout
    after = {node: boot(node) for node in names_of_all()}
    assert {node for node in after if after[node] != before[node]} == set(nodes)
    assert canaries() == kept
    assert "nothing to update" in jinku("update", env=may_restart).stdout
    assert jinku("status").returncode == ExitCode.OK
    assert edge_answers()


@pytest.mark.usefixtures("up_to_date")
def test_a_package_that_fails_stops_the_roll_before_the_next_host() -> None:
    crm, edge = TOPOLOGY.nodes_of("crm")[0].name, TOPOLOGY.nodes_of("edge")[0].name
    as_root(crm, _BROKEN)
    package, old, new = as_root(edge, _DOWNGRADE).split()

    stopped = jinku("update")
    print(stopped.stdout)
    assert stopped.returncode == ExitCode.FAILED, stopped.stdout
    assert f"{crm}: Upgrade the packages:" in stopped.stdout
    assert f"changed on {crm}: jinku-drill 1 -> 2" in stopped.stdout
    assert f"not touched: {edge}" in stopped.stdout
    assert version(edge, package) == old
    assert jinku("update").returncode == ExitCode.FAILED, "it begins with the host that is broken"
    assert version(edge, package) == old

    as_root(crm, _MENDED)
    on_again = jinku("update")
    assert on_again.returncode == ExitCode.OK, on_again.stdout
    assert version(edge, package) == new
    assert "nothing to update" in jinku("update").stdout


@pytest.mark.usefixtures("up_to_date")
def test_what_is_not_well_refuses_the_roll() -> None:
    crm = TOPOLOGY.nodes_of("crm")[0].name
    edge = TOPOLOGY.nodes_of("edge")[0].name
    package, old, _ = as_root(edge, _DOWNGRADE).split()
    try:
        as_root(crm, "systemctl stop jinku-crm.service jinku-crm-router.service")
        refused = jinku("update")
        assert refused.returncode == ExitCode.FAILED, refused.stdout
        assert "nothing was touched" in refused.stdout
        assert crm in refused.stdout
        assert version(edge, package) == old
    finally:
        as_root(crm, "systemctl start jinku-crm-router.service jinku-crm.service")
        assert jinku("update").returncode == ExitCode.OK
