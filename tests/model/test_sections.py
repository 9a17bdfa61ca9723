# SPDX-License-Identifier: Apache-2.0
"""What single sections of environment.yaml demand: vault, edge, room and alerts."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from lab_choices import LabWith, Problems

from jinku.model import InputError, Topology, load_environment
from jinku.model.inventory import inventory
from jinku.places import CHECKOUT, Places


def test_a_vault_opens_by_a_key_beside_its_data_only_where_the_data_may_be_lost(
    lab_with: LabWith, problems: Problems
) -> None:
    def seal(**changes: Any) -> str:
        hosts = inventory(lab_with(changes), Places("lab"))["_meta"]["hostvars"]
        return str(hosts["sec1"]["jinku_env"]["vault"]["seal"])

    assert seal() == "static"
    assert seal(vault={"seal": "shamir"}) == "shamir"
    refused = problems({"vault": {"seal": "static"}, "disposable": False})
    assert [line.partition(":")[0] for line in refused] == ["disposable", "vault.seal"]


ACME = {"certificate": "acme", "acme_directory": "https://acme.example.com:8443/dir"}


def test_an_acme_directory_becomes_a_flow_of_the_edge(lab_with: LabWith) -> None:
    topology = lab_with({"edge": ACME, "outside": {"acme": ["192.0.2.9"]}})
    (flow,) = [pair for pair in topology.allowed() if pair.destination == "acme"]
    assert (flow.id, flow.source, flow.port) == ("edge>acme", "edge1", 8443)
    assert [str(network) for network in flow.destination_networks] == ["192.0.2.9/32"]
    assert "edge>acme" not in {pair.id for pair in Topology.of(load_environment("lab")).allowed()}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"outside": {"acme": ["192.0.2.9"]}},
            "outside.acme: is given, but edge.certificate is not 'acme'; both or neither",
        ),
        (
            {"edge": ACME, "outside": {"acme": ["10.77.0.9"]}},
            "outside.acme: 10.77.0.9/32 overlaps the environment's own networks",
        ),
        (
            {"edge": {**ACME, "acme_directory": "https://acme.example.com:99999/"}},
            "edge.acme_directory: is 'https://acme.example.com:99999/'",
        ),
        (
            {"edge": {**ACME, "acme_directory": "http://acme.example.com/"}},
            "edge.acme_directory: is 'http://acme.example.com/'",
        ),
        ({"edge": {**ACME, "acme_contact": "nobody"}}, "edge.acme_contact: is 'nobody'"),
        ({"edge": {"authorities": "text"}}, "edge.authorities: is not one or more certificates in PEM"),
        ({"edge": {"authorities": "-----BEGIN PRIVATE KEY-----"}}, "edge.authorities: holds a private key"),
    ],
)
def test_a_wrong_way_to_the_users_certificate_is_refused(
    problems: Problems, changes: dict[str, Any], said: str
) -> None:
    assert any(line.startswith(said) for line in problems(changes)), problems(changes)


def test_hosts_that_exist_need_the_addresses_of_the_acme_directory(tmp_path: Path) -> None:
    choices = yaml.safe_load((CHECKOUT / "inventories/small/environment.yaml").read_text(encoding="utf-8"))
    file = tmp_path / "environment.yaml"
    file.write_text(yaml.safe_dump({**choices, "edge": ACME}), encoding="utf-8")
    with pytest.raises(InputError, match=r"outside\.acme: is missing; the addresses of acme\.example\.com"):
        load_environment(file)


@pytest.mark.parametrize("folder", ["etc/tls", "/etc/tls\nInclude /etc/shadow", "/etc/a b", "/etc/$(id)"])
def test_a_folder_that_is_no_plain_path_is_refused(problems: Problems, folder: str) -> None:
    lines = problems({"edge": {"certificate": "files", "certificate_files": folder}})
    assert lines
    assert lines[0].startswith("edge.certificate_files: ")


@pytest.mark.parametrize(
    ("address", "points", "wrong"),
    [
        ("10.77.0.68", {}, "room.devices.a.address: 10.77.0.68 is db1's; "),
        ("10.77.0.80", {}, "room.devices.a.address: 10.77.0.80 lies in the zone data; "),
        ("10.77.0.200", {"oid": "1.3.6.1; rm"}, "room.devices.a.points.0.oid: "),
        ("10.77.0.200", {"scale": 0}, "room.devices.a.points.0.scale: "),
        ("10.77.0.200", {"alarm": 0}, "room.devices.a.points.0: "),
        ("10.77.0.200", {"place": "floor\nx"}, "room.devices.a.points.0.place: "),
    ],
)
def test_a_device_of_the_room_that_cannot_be_asked_is_refused(
    problems: Problems, address: str, points: dict[str, Any], wrong: str
) -> None:
    point = {"quantity": "water", "place": "floor", "oid": "1.3.6.1.4.1.5.0", **points}
    assert any(
        line.startswith(wrong)
        for line in problems({"room": {"devices": {"a": {"address": address, "points": [point]}}}})
    )


def test_two_points_of_one_place_are_refused(problems: Problems) -> None:
    point = {"quantity": "water", "place": "floor", "oid": "1.3.6.1.4.1.5.0"}
    device = {"address": "10.77.0.200", "points": [point, point]}
    assert "water at floor is written 2 times" in problems({"room": {"devices": {"a": device}}})[0]


def test_alarms_go_nowhere_but_to_whole_addresses(problems: Problems) -> None:
    mail = {
        "address": "10.9.1.12",
        "name": "relay.example.internal",
        "sender": "a@example.internal",
        "to": {"system": ["b"]},
    }
    assert problems({"alerts": {"mail": mail}})[0].startswith("alerts.mail.to.system.0: ")
    hook = {"address": "10.9.1.13", "name": "duty.example.internal", "path": "/x' y"}
    assert problems({"alerts": {"webhook": hook}})[0].startswith("alerts.webhook.path: ")
