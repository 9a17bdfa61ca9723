# SPDX-License-Identifier: Apache-2.0
"""The Pulumi program and its driver on the real engine, with hosts that exist already, so that nothing is made."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from pulumi import automation

from jinku import engine, pki, provision, ssh_access
from jinku.model import Topology, load_environment
from jinku.places import CHECKOUT, Places

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKxiqn6nUdMwOAF7rKMLs8uUoDoVkjSoSV5Upx1VGdVf"


@pytest.fixture(scope="module")
def pulumi():
    """The engine; built when there is none, for a skipped test proves nothing."""
    return engine.ensure(print)


@pytest.fixture
def existing(tmp_path, monkeypatch):
    """An environment of existing hosts, outside the checkout, whose owner gave all host keys."""
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", os.environ["PATH"])  # run() puts the engine in front
    monkeypatch.setenv("JINKU_ENV", "")
    folder = tmp_path / "prod"
    shutil.copytree(CHECKOUT / "inventories/small", folder)
    file = folder / "environment.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"name": "prod"}, allow_unicode=True))
    nodes = Topology.of(load_environment(folder)).nodes
    (folder / "known_hosts").write_text("".join(f"{node.name} {KEY}\n" for node in nodes))
    return folder


def run(verb, folder, pulumi, steps=None):
    """Results by site."""
    steps = [] if steps is None else steps
    results = provision.run(verb, Places("prod"), folder, ["a", "b"], pulumi, steps.append)
    return {result.site: result for result in results}


def test_two_sites_come_up_and_the_second_time_nothing_changes(existing, pulumi):
    first = run("up", existing, pulumi)
    assert [result.error for result in first.values()] == ["", ""]
    assert set(first["b"].outputs["nodes"]) == {"db2", "ops2", "aud2"}
    assert first["a"].outputs["nodes"]["db1"] == {"address": "10.20.0.68", "ssh_host_key": KEY}
    assert first["a"].changed > 0
    again = run("up", existing, pulumi)
    assert [result.changed for result in again.values()] == [0, 0]
    assert [result.changed for result in run("preview", existing, pulumi).values()] == [0, 0]


def test_a_dead_site_does_not_block_the_other(existing, pulumi):
    hosts = existing / "known_hosts"
    hosts.write_text(
        "".join(line for line in hosts.read_text().splitlines(keepends=True) if not line.startswith("aud2"))
    )
    results = run("up", existing, pulumi)
    assert not results["a"].error
    assert f"{hosts}: aud2: has no line; `jinku contact`, or 'aud2 ssh-ed25519 AAAA...'" in results["b"].error


def test_the_state_lies_outside_the_checkout_and_holds_no_passphrase(existing, pulumi, tmp_path):
    before = set(CHECKOUT.glob("Pulumi*"))
    run("up", existing, pulumi)
    assert set(CHECKOUT.glob("Pulumi*")) == before
    passphrase = tmp_path / "state/prod/pulumi.passphrase"
    assert passphrase.stat().st_mode & 0o777 == 0o600
    secret = passphrase.read_text().encode()
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file() and path != passphrase]
    assert files
    assert not [path for path in files if secret in path.read_bytes()]
    kept = [path for path in (tmp_path / "state/prod/pulumi").rglob("*") if not path.is_symlink()]
    assert not [path for path in kept if path.stat().st_mode & 0o077], "others may read the state or its backups"


def test_what_an_interrupted_run_left_is_cleared(existing, pulumi):
    run("up", existing, pulumi)
    places = Places("prod")
    lock = next((places.pulumi / ".pulumi/locks").rglob("prod-a")) / "dead.json"
    lock.write_text(
        json.dumps({"pid": 2**22 - 1, "username": "x", "hostname": "y", "timestamp": "2026-01-01T00:00:00Z"})
    )
    stack = provision._stack(places, existing, "b")
    state = stack.export_stack()
    pending = {
        "resource": state.deployment["resources"][1] | {"urn": "urn:pulumi:prod-b::jinku::x:y:Z::half"},
        "type": "creating",
    }
    deployment = {**state.deployment, "pending_operations": [pending]}
    stack.import_stack(automation.Deployment(version=state.version, deployment=deployment))
    results = run("up", existing, pulumi)
    assert [result.error for result in results.values()] == ["", ""]
    assert not lock.exists()
    assert not provision._stack(places, existing, "b").export_stack().deployment.get("pending_operations")


def test_an_engine_that_does_not_end_is_named_and_keeps_its_lock(existing, tmp_path, monkeypatch):
    """Two engines at once would spoil the state."""
    program = tmp_path / "pulumi"
    shutil.copy("/bin/sleep", program)
    monkeypatch.setattr(provision, "ORPHAN_SECONDS", 0.5)
    places = Places("prod")
    lock = places.pulumi / ".pulumi/locks/organization/jinku/prod-a/one.json"
    lock.parent.mkdir(parents=True)

    class Stack:
        name = "prod-a"

        def cancel(self):
            pytest.fail("the lock of a living engine was taken away")

    with subprocess.Popen(["env", "--ignore-signal=INT", program, "60"]) as orphan:
        try:
            while Path(f"/proc/{orphan.pid}/comm").read_text().strip() != "pulumi":
                time.sleep(0.01)
            lock.write_text(json.dumps({"pid": orphan.pid}))
            with pytest.raises(provision.OrphanError, match=f"{lock}: pid: .* process {orphan.pid}, .*; wait for it"):
                provision._recover(places, Stack())
            monkeypatch.setattr(provision, "_stack", lambda *_words: Stack())
            told = provision._run_site("up", places, existing, "a", print)
            assert told.error.startswith(f"{lock}: pid: ")
        finally:
            orphan.kill()
    assert lock.exists()


#: What a secret looks like, wherever it is.
SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a vault token": r"\b(?:hvs|hvb|s|b)\.[A-Za-z0-9_-]{20,}",
    "a password's hash": r"\$(?:5|6|y|2[aby])\$",
    "something called a secret": r"(?i)\"[a-z_]*(?:password|passphrase|secret|token|private)[a-z_]*\": *\"",
}


def test_the_decrypted_state_holds_no_secret(existing, pulumi):
    places = Places("prod")
    topology = Topology.of(load_environment(existing))
    ssh_access.ensure_automation_key(places)
    pki.ensure_root(places)
    run("up", existing, pulumi)
    try:
        for site in topology.sites:
            exported = plain(pulumi, existing, "stack", "export", "--show-secrets", stack=f"prod-{site}")
            assert exported.returncode == 0, exported.stderr
            state = json.loads(exported.stdout)["deployment"]
            assert state["resources"]
            assert not [one for one in state["resources"] if one.get("additionalSecretOutputs")]
            text = json.dumps({**state, "secrets_providers": {"type": state["secrets_providers"]["type"]}})
            assert not {name: found for name, pattern in SECRETS.items() if (found := re.findall(pattern, text))}
            for file in secret_files(places):
                assert not [line for line in file.read_text().splitlines() if line[:5] != "-----" and line in text]
    finally:
        for site in topology.sites:
            (CHECKOUT / f"Pulumi.prod-{site}.yaml").unlink(missing_ok=True)


def secret_files(places):
    """Every private file of the state folder that is not Pulumi's own state."""
    files = [places.automation_key, places.state / "pulumi.passphrase", *places.pki.rglob("*.key")]
    assert len(files) > 2
    return files


def test_destroy_removes_the_stacks(existing, pulumi):
    run("up", existing, pulumi)
    results = run("destroy", existing, pulumi)
    assert [result.error for result in results.values()] == ["", ""]
    assert not list((Places("prod").pulumi / ".pulumi/stacks").rglob("prod-*.json"))


def plain(pulumi: Path, folder: Path, *words: str, stack: str = "prod-a"):
    """Run `pulumi` itself in the checkout, as a person with an official installation would."""
    fixture = CHECKOUT / "tests/pulumi_language_python"
    environment = {
        **os.environ,
        **provision.engine_env(Places("prod"), folder),
        "PATH": f"{fixture}:{pulumi.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = ["pulumi", *words, "--stack", stack, "--non-interactive"]
    return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)


def test_plain_pulumi_works_on_the_same_stacks_in_the_checkout(existing, pulumi):
    assert (CHECKOUT / ".venv").exists(), "tools/bootstrap.sh makes .venv, where Pulumi.yaml looks for the provider"
    run("up", existing, pulumi)
    try:
        preview = plain(pulumi, existing, "preview")
        assert "15 unchanged" in preview.stdout, preview.stdout + preview.stderr
        tree = plain(pulumi, existing, "stack").stdout
        assert "jinku:index:Zone" in tree
        assert tree.index("a-data") < tree.index("db1")
        for words in (("up", "--yes"), ("refresh", "--yes"), ("destroy", "--yes")):
            done = plain(pulumi, existing, *words)
            assert done.returncode == 0, done.stdout + done.stderr
    finally:
        (CHECKOUT / "Pulumi.prod-a.yaml").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("stack", "text"),
    [
        ("prod-z", "prod has no site 'z'; one of prod-a, prod-b"),
        ("other-a", "the environment is called prod; prod-a"),
    ],
)
def test_a_wrong_stack_is_told_the_right_ones(existing, pulumi, stack, text):
    run("up", existing, pulumi)
    try:
        plain(pulumi, existing, "stack", "init", stack=stack)
        done = plain(pulumi, existing, "preview", stack=stack)
        assert done.returncode != 0
        assert text in done.stdout + done.stderr
    finally:
        (CHECKOUT / f"Pulumi.{stack}.yaml").unlink(missing_ok=True)


def test_engines_of_another_major_or_older_are_refused():
    assert engine.fits((3, 259, 0))
    assert engine.fits((3, 300, 1))
    assert not engine.fits((3, 258, 9))
    assert not engine.fits((4, 0, 0))
    assert not engine.fits(())


def test_an_engine_that_was_killed_over_its_attributes_does_not_hide_the_stack(existing, pulumi):
    assert run("up", existing, pulumi)["a"].error == ""
    state = Places("prod").pulumi
    assert not list(state.rglob("*.attrs")), "the engine writes none, so none can be cut off"
    (stack,) = state.rglob("stacks/**/prod-a.json")
    stack.with_name(stack.name + ".attrs").write_text("")
    assert [(each.error, each.changed) for each in run("up", existing, pulumi).values()] == [("", 0), ("", 0)]


def test_a_lost_passphrase_is_named_and_not_replaced(existing, pulumi):
    """A new one would stand where the old one belongs, and the engine would only say that it is incorrect."""
    run("up", existing, pulumi)
    file = Places("prod").state / "pulumi.passphrase"
    kept = file.read_text()
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"pulumi\.passphrase: .*is gone"):
        run("preview", existing, pulumi)
    assert not file.exists()
    file.write_text(kept)
    assert [result.changed for result in run("preview", existing, pulumi).values()] == [0, 0]


def test_an_error_of_the_engine_is_the_providers_own_text():
    text = "wan: 10.0.0.0/24: is taken; another network"
    trace = 'Traceback (most recent call last):\n  File "x.py", line 3, in y\n    z()\nLabError: ' + text
    said = f"Unexpected <class 'stacks.provider.lab.process.LabError'>: {text}"
    assert provision.plain(f"{said}\n{trace}") == text
    assert provision.plain(said) == text
    assert provision.plain("first\n  second") == "first\n  second"
