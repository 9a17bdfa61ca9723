# SPDX-License-Identifier: Apache-2.0
"""Headers of LUKS2 disks, as the program of the volumes writes and reads them, on loop devices. What needs dm-crypt is in tests/vault/test_disks.py."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jinku.escrow import Escrow, ensure_escrow
from jinku.places import Places

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes loop devices")]

FILES = Path(__file__).resolve().parent.parent / "hardening/volumes/files/usr"
PROGRAM = FILES / "local/sbin/jinku-volumes"
sys.path.insert(0, str(FILES / "lib/jinku/volumes"))
luks2 = pytest.importorskip("luks2")
TOLD = {
    "schema": "jinku/volume/1",
    "volume": "db1-data",
    "source": "vault",
    "key": "vault:v1:words",
    "escrow": "sealed",
}


class Disk:
    """An empty disk of 40 MiB, and a folder for what a machine has of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.image, self.key = folder, folder / "disk", os.urandom(32)
        with self.image.open("xb") as made:
            made.truncate(40 << 20)
        done = subprocess.run(["losetup", "--find", "--show", self.image], capture_output=True, text=True, check=True)
        self.device = done.stdout.strip()
        (folder / "etc").mkdir()
        self.settle()

    def settle(self, **more: object) -> None:
        """What the role ships; ``more``: of the volume."""
        one = {"name": "db1-data", "mount": str(self.folder / "place"), "device": self.device, "format": True, **more}
        told = {"host": "db1", "engine": "volumes", "source": "host", "volumes": [one]}
        (self.folder / "etc/volumes.json").write_text(json.dumps(told))

    def volumes(self, verb: str, given: str = "", path: str = "") -> subprocess.CompletedProcess[str]:
        """Run jinku-volumes."""
        variables = {**os.environ, "JINKU_ETC": str(self.folder / "etc"), "JINKU_RUN": str(self.folder / "run")}
        variables["PATH"] = f"{path}:{os.environ['PATH']}"
        words = [sys.executable, str(PROGRAM), *verb.split()]
        return subprocess.run(words, env=variables, input=given, capture_output=True, text=True, check=False)

    def refused(self, verb: str = "make") -> str:
        """Why nothing is made of it."""
        told = json.loads(self.volumes(verb).stdout)
        assert told["changes"] == []
        return str(told["refused"]["db1-data"])

    def make(self) -> None:
        """Write a header."""
        luks2.make(self.device, "db1-data", self.key, TOLD, self.folder)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    found = Disk(tmp_path)
    yield found
    subprocess.run(["losetup", "--detach", found.device], check=True)


@pytest.fixture
def escrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Escrow:
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    return ensure_escrow(Places("test"))


def test_a_header_has_the_volumes_token_and_opens_by_its_key_alone(disk: Disk) -> None:
    disk.make()
    assert luks2.token(disk.device, "db1-data") == TOLD
    assert luks2.fits(disk.device, disk.key)
    assert not luks2.fits(disk.device, os.urandom(32))
    assert sorted(path.name for path in disk.folder.iterdir()) == ["disk", "etc"], "nothing is left of the draft"
    said = subprocess.run(["blkid", "-p", "-s", "LABEL", "-o", "value", disk.device], capture_output=True, check=True)
    assert said.stdout == b"db1-data\n"  # by which the first contact knows it
    raw = disk.image.read_bytes()
    assert disk.key not in raw
    assert base64.b64encode(disk.key) not in raw


def test_a_header_that_the_disk_cannot_take_leaves_the_disk_empty(disk: Disk) -> None:
    """cryptsetup dies while the header is made: no disk has a header without its token."""
    (disk.folder / "bin").mkdir()
    (disk.folder / "bin/cryptsetup").write_text(
        '#!/bin/sh\n[ "$1" != token ] || exit 1\nexec /usr/sbin/cryptsetup "$@"\n'
    )
    (disk.folder / "bin/cryptsetup").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{disk.folder}/bin:{os.environ['PATH']}")
        with pytest.raises(luks2.Refused):
            disk.make()
    assert not disk.image.read_bytes().strip(b"\0")


def test_a_token_is_replaced_and_the_key_stays(disk: Disk) -> None:
    disk.make()
    luks2.tell(disk.device, {**TOLD, "key": "vault:v2:others"}, "--token-replace")
    assert luks2.token(disk.device, "db1-data")["key"] == "vault:v2:others"
    assert luks2.fits(disk.device, disk.key)


def test_the_token_of_another_volume_is_none(disk: Disk) -> None:
    luks2.make(disk.device, "crm1-attachments", disk.key, {**TOLD, "volume": "crm1-attachments"}, disk.folder)
    assert luks2.token(disk.device, "db1-data") == {}
    before = disk.image.read_bytes()
    assert "holds crypto_LUKS, which Jinku has not made" in disk.refused()
    assert "is not this volume's" in disk.volumes("open").stderr
    assert disk.image.read_bytes() == before


@pytest.mark.parametrize(
    ("theirs", "refusal"),
    [
        ("mkfs.ext4 -q {}", "holds ext4, which Jinku has not made"),
        ("echo theirs | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 {} -", "holds crypto_LUKS"),
        (r"printf '\0\0\0\0\203\0\0\0\0\10\0\0\0\10\0\0%48s\125\252' | tr ' ' '\0' | dd of={} bs=1 seek=446 status=none", "holds dos"),
        ("echo words | dd of={} bs=4k seek=200 conv=fsync status=none", "holds something"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["make --check", "make"])
def test_what_holds_anything_is_refused_and_not_touched(disk: Disk, theirs: str, refusal: str, verb: str) -> None:
    subprocess.run(["sh", "-c", theirs.format(disk.device)], check=True, capture_output=True)
    before = disk.image.read_bytes()
    assert refusal in disk.refused(verb)
    assert disk.volumes("open").returncode == 1
    assert disk.image.read_bytes() == before


def test_what_may_not_be_formatted_or_would_hide_files_or_is_no_disk_is_refused(disk: Disk) -> None:
    disk.settle(format=False)
    assert "`existing.disks.db1-data.format: true`" in disk.refused()
    disk.settle()
    (disk.folder / "place").mkdir()
    (disk.folder / "place/theirs").touch()
    assert "holds something, which the disk would hide" in disk.refused()
    disk.settle(device="/dev/null")
    assert "is no block device" in disk.refused()
    assert not disk.image.read_bytes().strip(b"\0")


@pytest.mark.parametrize("lacks", ["modprobe", "systemd-detect-virt"])
def test_a_kernel_without_dm_crypt_and_a_container_refuse_before_anything_is_written(disk: Disk, lacks: str) -> None:
    (disk.folder / "bin").mkdir()
    for name in ("modprobe", "systemd-detect-virt"):
        # detect-virt says by 0 that this is a container, modprobe by 0 that the module is there
        code = {"modprobe": int(lacks == name), "systemd-detect-virt": int(lacks != name)}[name]
        (disk.folder / "bin" / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (disk.folder / "bin" / name).chmod(0o755)
    told = json.loads(disk.volumes("make", path=f"{disk.folder}/bin").stdout)
    assert "this kernel has no dm-crypt; a file system on" in told["refused"]["db1-data"]
    assert not disk.image.read_bytes().strip(b"\0")


def test_a_disk_that_was_made_in_part_is_finished_and_its_key_comes_from_the_escrow(disk: Disk, escrow: Escrow) -> None:
    """As far as that goes without dm-crypt: what a killed run leaves is told, and the escrow's key is the disk's."""
    sealed = subprocess.run(
        ["openssl", "cms", "-encrypt", "-binary", "-aes256", "-outform", "PEM", "-recip", escrow.certificate_path,
         "-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256"],
        input=disk.key, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    told = {**TOLD, "source": "host", "escrow": sealed, "moving": "making"}
    luks2.make(disk.device, "db1-data", disk.key, told, disk.folder)
    assert "is being encrypted; `jinku up` finishes it" in disk.volumes("open").stderr
    assert json.loads(disk.volumes("make --check").stdout)["changes"] == ["volume db1-data: encrypted"]
    wrong = base64.b64encode(os.urandom(32)).decode()
    assert "the key from its escrow" in disk.volumes("adopt db1-data", wrong).stderr
    assert escrow.open(luks2.token(disk.device, "db1-data")["escrow"]) == disk.key
    (state,) = json.loads(disk.volumes("state").stdout)
    assert (state["encryption"], state["open"], state["device"]) == ("luks2", False, disk.device)


def test_an_ext4_disk_of_before_is_never_taken_for_an_empty_one(disk: Disk) -> None:
    """What Jinku made before it knew LUKS2, when its line in /etc/fstab failed: it is to be mounted."""
    subprocess.run(["mkfs.ext4", "-q", "-O", "encrypt", "-L", "db1-data", disk.device], check=True)
    before = disk.image.read_bytes()
    assert "is not mounted; mount it" in disk.refused()
    assert "is not mounted; mount it" in disk.volumes("open").stderr
    assert disk.image.read_bytes() == before
