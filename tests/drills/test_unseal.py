# SPDX-License-Identifier: Apache-2.0
"""A vault that nobody but its operators opens: set up by `up`, started cold, in a lab of its own."""

import asyncio
import base64
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from any_lab import edge_answers, on, received, switch

from jinku.cli.exit_codes import ExitCode
from jinku.model import Topology, load_environment
from jinku.places import Places, cache_root
from stacks.provider.lab import leftovers

pytestmark = [
    pytest.mark.unseal,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes a lab"),
    pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not here"),
]
NAME = "unseal"
SITES = {"a": {"title": "only site", "network": "10.196.0.0/24", "network6": "fd96:a::/56"}}
LAB = {"wan": "172.29.196.0/24", "wan6": "fd96:ff::/64", "link": "172.30.196.0/29", "link6": "fd96:fe::/64"}
JINKU = Path(sys.executable).with_name("jinku")
BACK_S, ALARM_S = 180, 150


@pytest.fixture
def people(tmp_path: Path) -> Iterator[Path]:
    """A folder with the key rings of the operators, one each."""
    yield tmp_path
    for ring in tmp_path.glob("gpg-*"):
        subprocess.run(["gpgconf", "--homedir", ring, "--kill", "gpg-agent"], check=True)


def gpg(ring: Path, *words: str) -> bytes:
    environment = {**os.environ, "GNUPGHOME": str(ring)}
    return subprocess.run(
        ["gpg", "--batch", "--quiet", *words], env=environment, check=True, capture_output=True
    ).stdout


def new_key(people: Path, name: str) -> str:
    """Make an OpenPGP key with a ring of its own; what environment.yaml says of it."""
    ring = people / f"gpg-{name}"
    ring.mkdir(mode=0o700)
    gpg(ring, "--passphrase", "", "--quick-gen-key", f"{name}@{NAME}.internal", "default", "default", "1d")
    return base64.b64encode(gpg(ring, "--export")).decode()


@pytest.fixture
def folder(tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("JINKU_CACHE_DIR", str(cache_root()))
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "s"))
    made = tmp_path / NAME
    subprocess.run([JINKU, "init", made], check=True, capture_output=True)
    file = made / "environment.yaml"
    told = yaml.safe_load(file.read_text()) | {"sites": SITES, "lab": LAB, "vault": {"seal": "shamir"}}
    for operator in told["operators"]:
        operator["pgp"] = new_key(people, operator["name"])
    file.write_text(yaml.safe_dump(told, allow_unicode=True))
    monkeypatch.setenv("JINKU_ENV", str(made))
    yield made
    subprocess.run([JINKU, "destroy", "--yes"], check=False, capture_output=True)
    asyncio.run(leftovers.sweep(NAME, with_volumes=True))


def jinku(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [JINKU, *words], input=given, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )


def share_of(people: Path, name: str, file: str = "share") -> str:
    """What this operator decrypts."""
    return gpg(people / f"gpg-{name}", "--decrypt", str(Places(NAME).state / f"vault/{file}.{name}.gpg")).decode()


def opened_by(people: Path, *names: str) -> list[int]:
    """Each of these operators in turn decrypts the own share and gives it; the exit codes."""
    return [jinku("unseal", given=share_of(people, name)).returncode for name in names]


def test_operators_open_the_vault_at_the_first_up_and_after_a_cold_start(folder: Path, people: Path) -> None:
    topology = Topology.of(load_environment(folder))
    places, names = Places(NAME), [node.name for node in topology.nodes]
    vault = places.state / "vault"
    first = jinku("up")
    assert first.returncode == ExitCode.FAILED, first.stdout
    assert "sealed; the operators open it" in first.stdout, first.stdout
    with pytest.raises(subprocess.CalledProcessError):  # another's key opens nothing
        gpg(people / "gpg-wang-fang", "--decrypt", str(vault / "share.li-na.gpg"))
    assert opened_by(people, "li-na", "zhang-wei") == [ExitCode.INCOMPLETE, ExitCode.OK]
    second = jinku("up")
    assert "did not come up" not in second.stdout, second.stdout
    assert not (vault / "root-token").exists()
    assert jinku("status").returncode == ExitCode.OK
    assert edge_answers(topology, places)

    switch(NAME, "stop_node", names)
    switch(NAME, "start_node", names)
    cold = jinku("status")
    assert cold.returncode == ExitCode.FAILED
    assert "vault is sealed; `jinku unseal`" in cold.stdout, cold.stdout
    assert opened_by(people, "wang-fang", "li-na") == [ExitCode.INCOMPLETE, ExitCode.OK]
    deadline = time.monotonic() + BACK_S
    while not (edge_answers(topology, places) and jinku("status").returncode == ExitCode.OK):
        assert time.monotonic() < deadline, jinku("status").stdout
        time.sleep(2)
    third = jinku("up")
    assert "nothing changed: changed=0 on every host" in third.stdout, third.stdout
    a_roll_that_seals_the_vault_waits_for_its_operators(folder, people, topology)
    who_left_opens_nothing_after_a_rekey(folder, people, topology)


def the_receiver_gets(places: Places, alert: str, since: float) -> None:
    """Return when the lab's receiver got an alarm by mail and webhook. :raises AssertionError: it did not in time."""
    deadline = time.monotonic() + ALARM_S
    while True:
        come = list(received(places, since))
        by_mail = [one for one in come if one["way"] == "mail" and f"firing: {alert} " in one["subject"]]
        posted = [one for one in come if one["way"] == "webhook" and one["status"] == "firing"]
        by_webhook = [one for one in posted if one["labels"]["alertname"] == alert]
        if by_mail and by_webhook:
            print(f"{alert}: mail {by_mail[0]['at'] - since:.0f} s after the roll began")
            return
        assert time.monotonic() < deadline, f"{alert} did not come within {ALARM_S} s: {come}"
        time.sleep(1)


def a_roll_that_seals_the_vault_waits_for_its_operators(folder: Path, people: Path, topology: Topology) -> None:
    """The machine of the vault restarts in the middle of a roll; the same lab as above, for making one takes minutes."""
    places, host = Places(NAME), topology.nodes_of("vault")[0].name
    file = folder / "environment.yaml"
    file.write_text(file.read_text() + "updates:\n  reboot: true\n")
    boot = "cat /proc/sys/kernel/random/boot_id"
    before, begun = on(places, host, boot), time.time()
    on(places, host, "sudo touch /run/reboot-required")
    with subprocess.Popen(
        [JINKU, "update", "--node", host], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as roll:
        assert roll.stdout
        said = ""
        for line in roll.stdout:
            said += line
            if "vault is sealed; `jinku unseal`" in line:
                break
        assert roll.poll() is None, said
        the_receiver_gets(places, "VaultSealed", begun)
        assert opened_by(people, "wang-fang", "zhang-wei") == [ExitCode.INCOMPLETE, ExitCode.OK]
        said += roll.stdout.read()
    assert roll.returncode == ExitCode.OK, said
    assert on(places, host, boot) != before
    assert jinku("status").returncode == ExitCode.OK


def who_left_opens_nothing_after_a_rekey(folder: Path, people: Path, topology: Topology) -> None:
    """wang-fang leaves and chen-jie comes: two others rekey, and the vault is restarted; the same lab as above."""
    places, host = Places(NAME), topology.nodes_of("vault")[0].name
    file = folder / "environment.yaml"
    told = yaml.safe_load(file.read_text())
    for operator in told["operators"]:
        if operator["name"] == "wang-fang":
            operator |= {"name": "chen-jie", "pgp": new_key(people, "chen-jie")}
            operator.pop("keys", None)
    file.write_text(yaml.safe_dump(told, allow_unicode=True))
    assert "wang-fang left and holds a share of the vault's key; `jinku rekey`" in jinku("status").stdout
    left, stays = share_of(people, "wang-fang"), share_of(people, "li-na")

    for name, file_name, code in (
        ("li-na", "share", ExitCode.INCOMPLETE),
        ("zhang-wei", "share", ExitCode.INCOMPLETE),
        ("chen-jie", "new-share", ExitCode.INCOMPLETE),
        ("li-na", "new-share", ExitCode.OK),
    ):
        step = jinku("rekey", given=share_of(people, name, file_name))
        assert step.returncode == code, f"{name}, {file_name}: {step.stdout}"
    assert not (places.vault / "share.wang-fang.gpg").exists()
    assert "holds a share" not in jinku("status").stdout

    on(places, host, "sudo systemctl restart openbao.service")
    deadline = time.monotonic() + BACK_S
    while "vault is sealed" not in (seen := jinku("status").stdout):
        assert time.monotonic() < deadline, seen
        time.sleep(1)
    assert jinku("unseal", given=left).returncode == ExitCode.INCOMPLETE
    refused = jinku("unseal", given=stays)  # both held until the rekey
    assert refused.returncode == ExitCode.FAILED, refused.stdout
    assert "the share is refused" in refused.stdout, refused.stdout
    assert opened_by(people, "chen-jie", "zhang-wei") == [ExitCode.INCOMPLETE, ExitCode.OK]
    while (seen_now := jinku("status")).returncode != ExitCode.OK:
        assert time.monotonic() < deadline + BACK_S, seen_now.stdout
        time.sleep(2)
