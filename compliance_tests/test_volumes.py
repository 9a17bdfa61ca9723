# SPDX-License-Identifier: Apache-2.0
"""The volumes: encrypted by the kernel, their keys kept by the vault, nothing readable on the disk below them."""

import json
import secrets

import pytest
from asking import ask

from jinku.evidence.fleet import CONTROLLER
from jinku.evidence.sabotage import Sabotage

VIEWS = "/run/jinku/volumes"
VOLUMES = ("database", "application", "vault", "log", "monitor")


def volumes_of(topology, subject):
    """The volumes of the object's node; an object without one has nothing to encrypt."""
    (node,) = (node for node in topology.nodes if node.name == subject.node)
    return node.volumes


@pytest.mark.control("dengbao:8.1.4.8.b", "iso27001:A.8.24")
@pytest.mark.objects(*VOLUMES)
@pytest.mark.setting
def test_the_kernel_encrypts_every_volume(host, topology, subject, label):
    """What services see of a volume is encrypted with AES-256 by one key, which only the vault unwraps; nothing on it lies in the clear.

    zh: 各数据卷均由内核以 AES-256 加密，密钥由密钥库解封；卷上无明文内容。
    """
    volumes = volumes_of(topology, subject)
    assert volumes, "keeps its data on no volume"
    told = {one["name"]: one for one in json.loads(host.check_output("jinku-volumes state"))}
    answers = ask(host, "volume_policy.py", *(f"{one.mount}={VIEWS}/{one.name}" for one in volumes)).splitlines()
    for volume, answer in zip(volumes, answers, strict=True):
        place, key, clear, _, *policies = answer.split()
        assert place == volume.mount
        assert len(policies) == 1, f"{volume.name}: encrypted in several ways, or in part: {policies}"
        assert policies[0].startswith(("v2,AES-256-XTS,AES-256-CTS,", "luks2,aes-xts-plain64,512")), (
            f"{volume.name}: {policies[0]}"
        )
        assert key == "key=present", f"{volume.name}: its key is not in the kernel"
        assert clear == "clear=0", f"{volume.name}: {clear} entries lie on its file system in the clear"
        kept = told[volume.name]["key"]
        if "vault" in subject.tiers:
            # the one volume whose key the vault cannot give: it would have to be open for it
            assert kept.startswith("systemd-creds:host"), f"{volume.name}: its key is kept by {kept}"
            label(
                f"volume {volume.name}",
                f"the volume of the vault itself takes its key from its host ({kept}), not from the vault",
                f"密钥库自身的数据卷由其主机保存密钥（{kept}），而非取自密钥库",
            )
        else:
            assert kept == "vault:transit", f"{volume.name}: its key is kept by {kept}"
        assert told[volume.name]["escrow"], f"{volume.name}: nobody could open it after the loss of the vault"


@pytest.mark.control("dengbao:8.1.4.8.b", "iso27001:A.8.24")
@pytest.mark.objects(*VOLUMES)
@pytest.mark.behaviour
def test_what_is_written_to_a_volume_is_not_readable_on_its_disk(host, fleet, topology, places, subject):
    """A text written to the volume is not found on the disk below it, while what lies there in the clear by design is found.

    zh: 写入数据卷的文本在底层磁盘上检索不到；同一检索能找到设计上为明文的标识，证明检索有效。
    """
    volumes = volumes_of(topology, subject)
    told = {one["name"]: one.get("encryption") for one in json.loads(host.check_output("jinku-volumes state"))}
    if topology.env.backend != "lab" and {told.get(volume.name) for volume in volumes} != {"luks2"}:
        pytest.skip("the disks of hosts that exist cannot be read from outside them, below a file system that encrypts")
    for volume in volumes:
        canary = f"jinku-canary-{secrets.token_hex(16)}"
        # A service owns the folder: a name that it could foresee it could make a link to a file of root's, which would be emptied.
        file = f"{volume.mount}/.{canary}"
        if told[volume.name] == "luks2":
            on_the_disk(host, volume, canary, file)
            continue
        image = places.lab / "volumes" / subject.site / f"{volume.name}.ext4"
        identifier = host.check_output(
            f'python3 -c \'import json; print(json.load(open("{VIEWS}/{volume.name}/jinku-volume.json"))["identifier"])\''
        )
        try:
            written = host.run(
                f"set -C; for i in $(seq 200); do echo {canary}; done > {file} && sync -f {file} && stat -c %d {file} {VIEWS}/{volume.name}"
            )
            assert written.rc == 0, f"{volume.name}: nothing can be written: {written.stderr.strip()}"
            assert len(set(written.stdout.split())) == 1, (
                f"{volume.name}: what is written to {volume.mount} goes elsewhere"
            )
            clear, known, looked = (
                int(word)
                for word in ask(
                    fleet.host(CONTROLLER), "raw_search.py", str(image), canary, identifier, timeout=60
                ).split()
            )
        finally:
            host.run(f"rm -f {file}")
        assert known, f"{volume.name}: the search finds nothing in {looked} bytes, so it proves nothing"
        assert not clear, f"{volume.name}: what was written is found {clear} times on the disk"


def on_the_disk(host, volume, canary, file):
    """Judge a disk that is encrypted as a whole: its host itself sees it below the mapping."""
    try:
        written = host.run(f"set -C; for i in $(seq 200); do echo {canary}; done > {file} && sync -f {file}")
        assert written.rc == 0, f"{volume.name}: nothing can be written: {written.stderr.strip()}"
        number = host.check_output(f"stat -c %d {file} {VIEWS}/{volume.name}").split()
        assert len(set(number)) == 1, f"{volume.name}: what is written to {volume.mount} goes elsewhere"
        clear, known, looked = (int(word) for word in ask(host, "disk_search.py", file, canary, timeout=60).split())
    finally:
        host.run(f"rm -f {file}")
    assert known == 200, f"{volume.name}: the search finds {known} of 200 in {looked} bytes, so it proves nothing"
    assert not clear, f"{volume.name}: what was written is found {clear} times on the disk"


def _clear(volume: str, mount: str) -> tuple[str, str]:
    """Shell: mount an unencrypted folder of the volume's own file system over its place, and take it away again."""
    load = 'from importlib.machinery import SourceFileLoader as L; v = L("v", "/usr/local/sbin/jinku-volumes").load_module()'
    immutable = f"python3 -B -W ignore -c '{load}; v.immutable(\"{VIEWS}/{volume}\", %s)'"
    breaks = f"{immutable % False} && mkdir {VIEWS}/{volume}/clear && mount --bind {VIEWS}/{volume}/clear {mount}"
    mends = f"umount {mount} && rm -r {VIEWS}/{volume}/clear && {immutable % True}"
    return breaks, mends


_BREAKS, _MENDS = _clear("aud1-logs", "/var/log/remote")
SABOTAGE = (
    Sabotage(
        "a volume takes what is written in the clear",
        on="log",
        victim="aud1",
        breaks=_BREAKS,
        mends=_MENDS,
        kills=("test_the_kernel_encrypts_every_volume", "test_what_is_written_to_a_volume_is_not_readable_on_its_disk"),
    ),
)
