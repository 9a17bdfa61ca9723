# SPDX-License-Identifier: Apache-2.0
"""What a machine may lack: each lack is found before anything is touched, and its remedy is named."""

import json
import socket
from types import SimpleNamespace

import pytest
import yaml

from jinku import cli, doctor
from jinku.cli.exit_codes import ExitCode
from jinku.doctor import Level
from jinku.model import Topology, load_environment
from jinku.model.topology import PACKAGES
from jinku.places import Places


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("JINKU_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(SystemExit):
        cli.main(["init", str(tmp_path / "mine")])
    file = tmp_path / "mine/environment.yaml"
    choices = yaml.safe_load(file.read_text())
    choices["lab"] = {"wan": "172.31.241.0/24", "wan6": "fdf1::/64", "link": "172.31.242.0/29", "link6": "fdf2::/64"}
    file.write_text(yaml.safe_dump(choices, allow_unicode=True))
    return file.parent


def findings(folder):
    environment = load_environment(folder)
    return {found.what: found for found in doctor.examine(Topology.of(environment), Places(environment.name))}


def up(folder):
    """Exit code of `jinku up`, which must stop before anything is touched."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["up", "--env", str(folder)])
    return ended.value.code


def test_a_missing_tool_is_named_with_its_package(lab, monkeypatch, capsys, tmp_path):
    which = doctor.shutil.which
    monkeypatch.setattr(
        doctor.shutil, "which", lambda tool, **more: None if tool == "mmdebstrap" else which(tool, **more)
    )
    assert findings(lab)["mmdebstrap"].level is Level.MISSING
    assert up(lab) == ExitCode.PREREQUISITE
    assert "mmdebstrap: is not installed; `apt-get install mmdebstrap`" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_who_is_not_root_is_told(lab, monkeypatch, capsys):
    monkeypatch.setattr(doctor.os, "geteuid", lambda: 1000)
    assert up(lab) == ExitCode.PREREQUISITE
    assert "not running as root" in capsys.readouterr().err


def test_too_little_room_is_told(lab, monkeypatch, capsys):
    usage = SimpleNamespace(total=2**40, used=2**40 - 2**30, free=2**30)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: usage)
    assert up(lab) == ExitCode.PREREQUISITE
    text = capsys.readouterr().err
    assert "1.0 GiB free, 12 are needed" in text
    assert "1.0 GiB free, 4 are needed" in text


def test_a_port_in_use_is_told(lab, capsys):
    with socket.socket() as other:
        other.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
        other.bind(("172.31.241.1", PACKAGES.port))
        other.listen()
        assert up(lab) == ExitCode.PREREQUISITE
    assert f"port 172.31.241.1:{PACKAGES.port}: in use" in capsys.readouterr().err
    assert findings(lab)[f"port 172.31.241.1:{PACKAGES.port}"].level is Level.OK


def test_too_few_inotify_instances_are_told(lab, monkeypatch, capsys):
    """Debian's 128 carry three small labs; the hosts of a fourth die while booting."""
    monkeypatch.setattr(doctor, "INOTIFY_A_HOST", 10**6)
    assert up(lab) == ExitCode.PREREQUISITE
    told = capsys.readouterr().err
    assert "inotify instances: " in told
    assert "10000000 are needed; `sysctl fs.inotify.max_user_instances=" in told


def test_plan_starts_nothing_and_needs_no_inotify_instances(lab, monkeypatch, capsys):
    """Beside another running lab, `plan` was refused for what only `up` takes of the machine."""
    looked = []
    monkeypatch.setattr(doctor, "INOTIFY_A_HOST", 10**6)
    monkeypatch.setattr("jinku.cli.sites.run", lambda verb, *_words: looked.append(verb) or [])
    monkeypatch.setattr(doctor, "_root", lambda: doctor.Finding("root", Level.OK, "for this test"))
    with pytest.raises(SystemExit) as ended:
        cli.main(["plan", "--env", str(lab)])
    told = capsys.readouterr()
    assert (ended.value.code, looked) == (ExitCode.OK, ["preview"]), told
    assert "no host is up yet" in told.out


def test_another_lab_with_the_same_networks_is_told(lab, monkeypatch, capsys):
    """Two environments of one example share its networks: the second `up` would take the first one's way in."""
    zones = Topology.of(load_environment(lab)).zones
    other = [
        {"dst": "172.31.241.0/24", "dev": "jk-other-wan"},
        {"dst": str(zones["b", "data"].network), "gateway": "10.9.9.9", "dev": "tun0"},
        {"dst": str(zones["b", "ops"].network6), "gateway": "fd09::9", "dev": "tun0"},
    ]
    monkeypatch.setattr(doctor, "_routes", lambda: other)
    assert up(lab) == ExitCode.PREREQUISITE
    told = capsys.readouterr().err
    assert (
        "networks: this machine reaches 172.31.241.0/24 by jk-other-wan, another lab's interface; other networks"
        in told
    )
    assert f"networks: this machine reaches {other[1]['dst']} and 1 more by tun0; other networks" in told
    monkeypatch.setattr(doctor, "_routes", lambda: [{**route, "dev": "jk-mine-wan"} for route in other])
    assert findings(lab)["networks"].level is Level.MISSING, "one of the same name, whose state lies elsewhere"
    Places("mine").lab.mkdir(parents=True)
    assert findings(lab)["networks"].level is Level.OK, "its own routes are no obstacle"


def test_the_routes_of_this_machine_are_read():
    assert any(route["dst"] == "default" or "/" in route["dst"] for route in doctor._routes())


def test_doctor_prints_a_document_and_ends_with_what_it_found(lab, monkeypatch, capsys):
    monkeypatch.setattr(doctor.os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", "--json", "--env", str(lab)])
    assert ended.value.code == ExitCode.PREREQUISITE
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "jinku/doctor/1"
    root = next(found for found in document["findings"] if found["what"] == "root")
    assert (root["level"], root["remedy"]) == ("missing", "run as root, or with sudo")


@pytest.mark.parametrize("official", [True, False])
def test_what_pulumi_by_hand_lacks_is_said(lab, monkeypatch, tmp_path, capsys, official):
    """An official installation has a host for Python programs beside its engine; one that Jinku built has none."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("pulumi", *(["pulumi-language-python"] if official else [])):
        (folder / name).write_text("#!/bin/sh\necho v3.259.0\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    with pytest.raises(SystemExit):
        cli.main(["doctor", "--env", str(lab)])
    assert ("also need `pulumi-language-python`" in capsys.readouterr().out) is not official


@pytest.mark.parametrize("verb", ["doctor", "plan", "up"])
def test_a_wrong_controls_yaml_is_told_before_anything_is_looked_at(lab, capsys, verb):
    (lab / "controls.yaml").write_text("waiver: []\nitems: {dengbao:0.0: {en: x, zh: x}}\n")
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--env", str(lab)])
    assert ended.value.code == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "controls.yaml: waiver: unknown key; did you mean 'waivers'?" in said
