# SPDX-License-Identifier: Apache-2.0
"""The program that encrypts a host's volumes, on real file systems in image files, in a mount namespace of its own."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jinku.escrow import Escrow, ensure_escrow
from jinku.pki import PkiError
from jinku.places import Places

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts file systems")]

PROGRAM = Path(__file__).resolve().parent.parent / "hardening/volumes/files/usr/local/sbin/jinku-volumes"
CANARY = "a-customer-whom-nobody-may-read"


class Machine:
    """A mount namespace with one volume, `data`, whose key is the machine's own, as on the vault's host."""

    def __init__(self, folder: Path, escrow: Escrow) -> None:
        self.folder, self.image, self.place = folder, folder / "volume.ext4", folder / "place"
        self.escrow = escrow
        self.keeper = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sleep", "600"])
        theirs, ours = Path(f"/proc/{self.keeper.pid}/ns/mnt"), Path("/proc/self/ns/mnt")
        while theirs.readlink() == ours.readlink():
            pass
        for name in ("etc", "run", "place"):
            (folder / name).mkdir()
        told = {"host": "box", "engine": "volumes", "source": "host"}
        told["volumes"] = [{"name": "data", "mount": str(self.place)}]
        (folder / "etc/volumes.json").write_text(json.dumps(told))
        self.do("mount -t tmpfs none /var/lib/systemd")  # where systemd keeps the machine's own key
        self.do(f"truncate -s 64M {self.image} && mkfs.ext4 -q -O encrypt {self.image}")
        self.attach()

    def do(self, command: str, given: str = "", code: int = 0) -> str:
        """Run a shell command in the namespace; return its output, or why it failed where it must."""
        variables = {**os.environ, "JINKU_ETC": str(self.folder / "etc"), "JINKU_RUN": str(self.folder / "run")}
        inside = ["nsenter", f"--mount=/proc/{self.keeper.pid}/ns/mnt", "sh", "-c", command]
        done = subprocess.run(inside, input=given, capture_output=True, text=True, env=variables, check=False)
        assert done.returncode == code, f"{command}: {done.stdout}{done.stderr}"
        return done.stderr if code else done.stdout

    def volumes(self, verb: str, given: str = "", code: int = 0) -> str:
        """Run jinku-volumes."""
        return self.do(f"{sys.executable} {PROGRAM} {verb}", given, code)

    def make(self) -> dict[str, object]:
        """Encrypt what is not yet."""
        told: dict[str, object] = json.loads(self.volumes("make", self.escrow.certificate_path.read_text()))
        return told

    def state(self) -> dict[str, object]:
        """What the program says of the volume."""
        (found,) = json.loads(self.volumes("state"))
        return dict(found)

    def attach(self) -> None:
        """Mount the file system, as the machine's start does."""
        self.do(f"mount -o loop {self.image} {self.place}")

    def restart(self) -> None:
        """Forget every key: all is unmounted, and mounted anew."""
        self.do(
            f"while mountpoint -q {self.place}; do umount -R {self.place}; done; umount {self.folder}/run/volumes/data"
        )
        self.attach()

    def holds(self, text: str) -> bool:
        """Whether the image holds a text in the clear."""
        self.do(f"sync -f {self.place}")
        return text.encode() in self.image.read_bytes()


@pytest.fixture(scope="module")
def escrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Escrow]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JINKU_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield ensure_escrow(Places("test"))


@pytest.fixture
def machine(tmp_path: Path, escrow: Escrow) -> Iterator[Machine]:
    found = Machine(tmp_path, escrow)
    yield found
    found.keeper.kill()
    found.keeper.wait()


def test_what_is_written_to_an_encrypted_volume_is_not_in_its_image(machine: Machine) -> None:
    assert machine.make()["changes"] == ["volume data: encrypted"]
    machine.volumes("open")
    machine.do(f"echo {CANARY} > {machine.place}/{CANARY}")
    assert not machine.holds(CANARY)
    assert machine.holds("jinku/volume/1")  # the search itself finds what is there
    state = machine.state()
    assert (state["encrypted"], state["open"], state["clear"], state["key"]) == (True, True, [], "systemd-creds:host")
    assert machine.make() == {"changes": [], "escrow": {}, "refused": {}, "stopped": []}


def test_a_shut_volume_is_neither_read_nor_written(machine: Machine) -> None:
    machine.make()
    machine.volumes("open")
    machine.do(f"echo {CANARY} > {machine.place}/file")
    machine.volumes("shut")
    assert not machine.state()["open"]
    inside = f"{machine.place}/jinku-content"
    assert "file" not in machine.do(f"ls {inside}").split()
    assert "Required key not available" in machine.do(f"cat {inside}/*", code=1)
    assert "Operation not permitted" in machine.do(f"touch {machine.place}/new", code=1)
    assert "Required key not available" in machine.do(f"touch {inside}/new", code=1)
    machine.restart()
    assert "Required key not available" in machine.do(f"cat {inside}/*", code=1)
    machine.volumes("open")
    assert machine.do(f"cat {machine.place}/file") == f"{CANARY}\n"


def test_a_wrong_key_opens_nothing(machine: Machine) -> None:
    machine.make()
    machine.restart()
    wrong = base64.b64encode(os.urandom(32)).decode()
    assert "was given" in machine.volumes("adopt data", wrong, code=1)
    assert "is no volume of this host; one of data" in machine.volumes("adopt dta", wrong, code=1)
    assert not machine.state()["open"]


def test_a_machine_made_anew_takes_the_key_from_the_escrow(machine: Machine) -> None:
    machine.make()
    machine.volumes("open")
    machine.do(f"echo {CANARY} > {machine.place}/file")
    machine.restart()
    machine.do(f"rm -r {machine.folder}/etc/volumes /var/lib/systemd/credential.secret")
    assert "brings the key from the escrow" in machine.volumes("open", code=1)
    sealed = machine.make()["escrow"]
    assert isinstance(sealed, dict)
    machine.volumes("adopt data", base64.b64encode(machine.escrow.open(sealed["data"])).decode())
    machine.volumes("open")
    assert machine.do(f"cat {machine.place}/file") == f"{CANARY}\n"


def test_what_a_volume_held_in_the_clear_is_moved_and_its_blocks_are_gone(machine: Machine) -> None:
    machine.do(
        f"mkdir -m 0750 {machine.place}/17 && echo {CANARY} > {machine.place}/17/file && ln {machine.place}/17/file {machine.place}/twin"
    )
    assert machine.holds(CANARY)
    assert machine.state()["clear"] == ["17", "twin"]
    assert "is not encrypted" in machine.volumes("open", code=1)
    assert machine.make()["changes"] == ["volume data: encrypted, what it holds is moved"]
    machine.volumes("open")
    assert machine.do(f"cat {machine.place}/17/file") == f"{CANARY}\n"
    assert machine.do(f"stat -c '%a %h' {machine.place}/17 {machine.place}/twin").split()[0::3] == ["750", "2"]
    assert machine.state()["clear"] == []
    assert not machine.holds(CANARY)


def test_without_room_for_the_copy_nothing_is_touched(machine: Machine) -> None:
    machine.do(
        f"echo {CANARY} > {machine.place}/file && dd if=/dev/urandom of={machine.place}/much bs=1M count=40 status=none"
    )
    refused = machine.make()["refused"]
    assert isinstance(refused, dict)
    assert "make it larger" in refused["data"]
    machine.do(f"touch {machine.place}/goes-on")
    assert machine.state()["clear"] == ["file", "goes-on", "much"]


def test_a_move_that_was_killed_is_finished(machine: Machine) -> None:
    machine.do(
        f"echo {CANARY} > {machine.place}/file && dd if=/dev/urandom of={machine.place}/much bs=1M count=20 status=none"
    )
    killed = f"PATH={machine.folder}/bin:$PATH {sys.executable} {PROGRAM} make"
    (machine.folder / "bin").mkdir()
    (machine.folder / "bin/diff").write_text("#!/bin/sh\nkill -9 $PPID\n")
    (machine.folder / "bin/diff").chmod(0o755)
    machine.do(killed, machine.escrow.certificate_path.read_text(), code=137)
    assert "is being encrypted" in machine.volumes("open", code=1)
    machine.do(f"echo half > {machine.folder}/run/volumes/data/jinku-content/file")
    assert machine.make()["refused"] == {}
    machine.volumes("open")
    assert machine.do(f"cat {machine.place}/file") == f"{CANARY}\n"
    assert machine.state()["clear"] == []


def test_a_file_system_that_cannot_be_encrypted_is_left_and_said_so_until_it_can(machine: Machine) -> None:
    machine.do(f"umount {machine.place} && mkfs.ext4 -q -F -O ^encrypt {machine.image}")
    machine.attach()
    machine.do(f"echo {CANARY} > {machine.place}/file")
    (change,) = machine.make()["changes"]  # type: ignore[misc]
    assert "left in the clear" in change
    assert machine.make()["changes"] == []
    machine.volumes("open")
    state = machine.state()
    assert (state["encrypted"], state["open"], "key" in state) == (False, False, False)
    machine.restart()
    machine.do(f"tune2fs -O encrypt $(findmnt -no SOURCE {machine.place})")
    assert machine.make()["changes"] == ["volume data: encrypted, what it holds is moved"]
    machine.volumes("open")
    assert machine.do(f"cat {machine.place}/file") == f"{CANARY}\n"
    assert not machine.holds(CANARY)


def test_a_volume_whose_description_is_lost_is_left_alone(machine: Machine) -> None:
    machine.make()
    machine.do(f"chattr -i {machine.folder}/run/volumes/data && rm {machine.folder}/run/volumes/data/jinku-volume.json")
    refused = machine.make()["refused"]
    assert isinstance(refused, dict)
    assert "jinku-volume.json is gone" in refused["data"]


def test_another_escrow_opens_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    machine.make()
    sealed = json.loads(machine.do(f"cat {machine.place}/jinku-volume.json"))["escrow"]
    other = ensure_escrow(Places("other"))
    with pytest.raises(PkiError, match="does not open"):
        other.open(sealed)
    other.key_path.rename(tmp_path / "carried-away")
    with pytest.raises(PkiError, match="offline"):
        other.open(sealed)
