# SPDX-License-Identifier: Apache-2.0
"""A state folder on a file system that is really full: `up` names it, and after room is made the same command finishes."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jinku import cli
from jinku.cli.exit_codes import ExitCode
from jinku.model import Topology, load_environment
from jinku.places import Places, cache_root
from stacks.provider.lab import hosts, leftovers

pytestmark = [
    pytest.mark.long_drill,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts, and makes hosts"),
]

NAME = "fulldisk"
SITES = {"a": {"title": "only site", "network": "10.141.0.0/24", "network6": "fd41:a::/56"}}
LAB = {"wan": "172.29.141.0/24", "wan6": "fd41:ff::/64", "link": "172.30.141.0/29", "link6": "fd41:fe::/64"}
MIB = 2**20
SIZE, LEFT = 700 * MIB, MIB
#: What `jinku up` does first. The room that it wants before it begins is not there, and not needed for this test. (A disk that
#: fills up while the engine runs is another matter: the engine then waits for ever, which is why `up` looks first.)
UP = """
import sys
from pathlib import Path
from jinku import engine, provision
from jinku.places import Places
(result,) = provision.run("up", Places(sys.argv[1]), Path(sys.argv[2]), ["a"], engine.ensure(print), lambda step: None)
sys.exit(result.error or 0)
"""


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A small file system of its own, as the state folder."""
    file, mount = tmp_path / "disk.ext4", tmp_path / "s"
    mount.mkdir()
    with file.open("xb") as disk:
        disk.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", file], check=True)
    subprocess.run(["mount", "-o", "loop", file, mount], check=True)
    monkeypatch.setenv("JINKU_CACHE_DIR", str(cache_root()))
    monkeypatch.setenv("JINKU_STATE_DIR", str(mount))
    monkeypatch.setenv("JINKU_ENV", "")
    monkeypatch.setenv("PATH", os.environ["PATH"])
    yield mount
    asyncio.run(leftovers.sweep(NAME, with_volumes=True))
    subprocess.run(["umount", "--lazy", mount], check=True)


@pytest.fixture
def folder(tmp_path, state):  # noqa: ARG001 - its state lies there
    """A laboratory with one site."""
    made = tmp_path / NAME
    with pytest.raises(SystemExit):
        cli.main(["init", str(made)])
    file = made / "environment.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"sites": SITES, "lab": LAB}, allow_unicode=True))
    return made


def up(folder):
    command = [sys.executable, "-c", UP, NAME, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def fill(state: Path) -> Path:
    filler = state / "filler"
    room = os.statvfs(state)
    with filler.open("xb") as disk:
        os.posix_fallocate(disk.fileno(), 0, room.f_bavail * room.f_frsize - LEFT)
    return filler


def test_up_names_a_full_disk_and_finishes_when_there_is_room(folder, state, capsys):
    """Nearly full and full to the last MiB."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["up", "--env", str(folder)])
    assert ended.value.code == ExitCode.PREREQUISITE
    assert f"disk {Places(NAME).state}: 0." in capsys.readouterr().err, "before it begins"
    assert asyncio.run(leftovers.leftovers(NAME)) == {}

    filler = fill(state)
    with pytest.raises(SystemExit) as ended:
        cli.main(["up", "--env", str(folder)])
    assert ended.value.code == ExitCode.PREREQUISITE
    assert f"disk {Places(NAME).state}: 0.0 GiB free" in capsys.readouterr().err
    assert asyncio.run(leftovers.leftovers(NAME)) == {}, "nothing was begun"
    filler.unlink()
    again = up(folder)
    assert again.returncode == 0, again.stderr[-3000:]
    wanted = {node.name for node in Topology.of(load_environment(folder)).nodes}
    assert {host.name for host in hosts.all_of(NAME)} == wanted
