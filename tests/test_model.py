# SPDX-License-Identifier: Apache-2.0
"""The model: what it accepts, what it refuses and in which words, and what it renders."""

import copy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from jinku.model import InputError, Topology, load_environment
from jinku.model.inventory import inventory
from jinku.model.people import accounts_on, principal
from jinku.model.rendering import renderings
from jinku.model.schema import SCHEMA_FILE, schema_text
from jinku.places import CHECKOUT, Places

GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = ("lab", "small", "standard")
LAB: dict[str, Any] = yaml.safe_load((CHECKOUT / "inventories/lab/environment.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def problems(tmp_path: Path) -> Callable[[dict[str, Any]], list[str]]:
    """Load the lab with changes; return the problems, file name removed."""

    def load(changes: dict[str, Any]) -> list[str]:
        file = tmp_path / "environment.yaml"
        file.write_text(yaml.safe_dump({**copy.deepcopy(LAB), **changes}), encoding="utf-8")
        with pytest.raises(InputError) as caught:
            load_environment(file)
        assert all(line.startswith(f"{file}: ") for line in caught.value.problems)
        return [line.removeprefix(f"{file}: ") for line in caught.value.problems]

    return load


def flow(source: str, destination: str, port: int = 9999, **more: Any) -> dict[str, Any]:
    return {
        "flows": [{"source": source, "destination": destination, "port": port, "en": "a test", "zh": "测试用", **more}]
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_loads_and_renders(name: str) -> None:
    assert "inventory.json" in renderings(Topology.of(load_environment(name)))


def test_a_vault_opens_by_a_key_beside_its_data_only_where_the_data_may_be_lost(
    tmp_path: Path, problems: Callable[[dict[str, Any]], list[str]]
) -> None:
    def seal(**changes: Any) -> str:
        file = tmp_path / "environment.yaml"
        file.write_text(yaml.safe_dump({**LAB, **changes}), encoding="utf-8")
        hosts = inventory(Topology.of(load_environment(file)), Places("lab"))["_meta"]["hostvars"]
        return str(hosts["sec1"]["jinku_env"]["vault"]["seal"])

    assert seal() == "static"
    assert seal(vault={"seal": "shamir"}) == "shamir"
    refused = problems({"vault": {"seal": "static"}, "disposable": False})
    assert [line.partition(":")[0] for line in refused] == ["disposable", "vault.seal"]


ACME = {"certificate": "acme", "acme_directory": "https://acme.example.com:8443/dir"}


def test_an_acme_directory_becomes_a_flow_of_the_edge(tmp_path: Path) -> None:
    file = tmp_path / "environment.yaml"
    file.write_text(yaml.safe_dump({**LAB, "edge": ACME, "outside": {"acme": ["192.0.2.9"]}}), encoding="utf-8")
    topology = Topology.of(load_environment(file))
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
    problems: Callable[[dict[str, Any]], list[str]], changes: dict[str, Any], said: str
) -> None:
    assert any(line.startswith(said) for line in problems(changes)), problems(changes)


def test_hosts_that_exist_need_the_addresses_of_the_acme_directory(tmp_path: Path) -> None:
    choices = yaml.safe_load((CHECKOUT / "inventories/small/environment.yaml").read_text(encoding="utf-8"))
    file = tmp_path / "environment.yaml"
    file.write_text(yaml.safe_dump({**choices, "edge": ACME}), encoding="utf-8")
    with pytest.raises(InputError, match=r"outside\.acme: is missing; the addresses of acme\.example\.com"):
        load_environment(file)


@pytest.mark.parametrize("name", EXAMPLES)
def test_renderings_are_the_golden_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python tests/test_model.py` writes them anew; the diff is what a change of the model does to hosts."""
    monkeypatch.setenv("JINKU_STATE_DIR", "/state")
    rendered = renderings(Topology.of(load_environment(name)))
    lying = {
        str(path.relative_to(GOLDEN / name)): path.read_bytes().decode()
        for path in (GOLDEN / name).rglob("*")
        if path.is_file()
    }
    assert rendered.keys() == lying.keys()
    for file, text in rendered.items():
        assert text == lying[file], file


def test_the_schema_for_editors_is_current() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()


@pytest.mark.skipif(not shutil.which("nft") or not shutil.which("unshare"), reason="nft is installed by `make up`")
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_ruleset_is_accepted_by_nft(name: str, tmp_path: Path) -> None:
    for file, text in renderings(Topology.of(load_environment(name))).items():
        if file.endswith(".nft"):
            ruleset = tmp_path / "ruleset.nft"
            ruleset.write_text(text)
            subprocess.run(
                ["unshare", "--user", "--map-root-user", "--net", "nft", "--check", "--file", str(ruleset)], check=True
            )


def test_an_unknown_key_is_named_with_the_nearest_one(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    assert problems({"profil": "small"}) == ["profil: unknown key; did you mean 'profile'?"]
    assert problems({"crm": {"demodata": True}}) == ["crm.demodata: unknown key; did you mean 'demo_data'?"]


def test_all_problems_are_told_at_once(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    assert len(problems({"profile": "huge", "level": 4, "name": "Lab!", "domain": "x"})) == 4


def test_a_wrong_type_is_told(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    assert problems({"retention": {"log_days": "long"}})[0].startswith("retention.log_days: is 'long'; ")
    assert problems({"sites": ["a"]})[0].startswith("sites: is ['a']; ")


def test_a_time_zone_that_does_not_exist_is_refused(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    for zone in ("Beijing", "Asia"):
        assert problems({"timezone": zone}) == [
            f"timezone: is {zone!r}, which is no time zone that this machine knows; one such as Asia/Shanghai"
        ]


def test_a_list_is_not_called_too_short_for_a_wrong_entry(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    wrong = {**LAB["operators"][1], "duty": "auditor"}
    assert problems({"operators": [LAB["operators"][0], wrong, LAB["operators"][2]]}) == [
        "operators.1.duty: is 'auditor'; 'system', 'audit' or 'security'"
    ]
    assert problems({"operators": LAB["operators"][:2]}) == ["operators: has 2; at least 3"]


def test_less_than_180_days_of_logs_is_refused(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    assert "180" in problems({"retention": {"log_days": 30}})[0]


def test_a_newer_schema_is_refused_with_the_remedy(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    (line,) = problems({"schema_version": 2, "some_new_key": 1})
    assert line.startswith("schema_version: is 2, newer than this Jinku")


def test_an_environment_for_another_jinku_is_refused(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    assert problems({"jinku": ">=9"})[0].startswith("jinku: this is Jinku ")
    assert problems({"jinku": "soon"}) == ["jinku: 'soon' is not a version range; such as '>=0.1,<0.2'"]


def test_overlapping_networks_are_refused(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    sites = copy.deepcopy(LAB["sites"])
    sites["b"]["network"] = "10.77.0.128/25"
    assert any("overlaps" in line for line in problems({"sites": sites}))
    assert any("lab.wan" in line and "overlaps" in line for line in problems({"lab": {"wan": "10.77.1.0/28"}}))


def test_a_site_too_small_for_its_zones_is_refused(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    sites = copy.deepcopy(LAB["sites"])
    sites["a"]["network"] = "10.77.0.0/27"
    assert problems({"sites": sites}) == [
        "sites.a.network: 10.77.0.0/27 is too small for eight zones of a /29; a /26 or larger, /24 is usual"
    ]


def test_a_zone_too_small_for_its_nodes_is_refused(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    nodes = [{"name": "crm9", "site": "a", "zone": "app", "tiers": ["crm"], "number": 31}]
    assert "is not a host's address in 10.77.0.32/27" in problems({"nodes": nodes})[0]


def test_an_ipv6_address_in_a_zone_without_ipv6_is_refused(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    sites = copy.deepcopy(LAB["sites"])
    del sites["a"]["network6"]
    assert problems({"sites": sites, "addresses": {"crm1": {"address6": "fd77:a:0:1::9"}}}) == [
        "addresses.crm1: fd77:a:0:1::9 needs a zone with IPv6, and app of site a has none; no IPv6 address, or `network6` of the site"
    ]


def test_a_network_with_host_bits_is_refused(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    sites = copy.deepcopy(LAB["sites"])
    sites["a"]["network"] = "10.77.0.1/24"
    assert problems({"sites": sites})[0].startswith("sites.a.network: ")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (flow("internet", "crm", 8443), "only edge:443 and edge:80"),
        (flow("internet", "bastion", 22), "only edge:443 and edge:80"),
        (flow("internet", "edge", 22), "only edge:443 and edge:80"),
        (flow("internet", "edge", 443, protocol="udp"), "only edge:443 and edge:80"),
        (flow("operators", "postgres", 5432), "operators reach the bastion's SSH only"),
        (flow("operators", "edge", 22), "operators reach the bastion's SSH only"),
        (flow("edge", "crm", 22), "only the bastion does"),
        (flow("postgres", "crm"), "only vault, log, time, packages"),
        (flow("edge", "postgres", 5432), "lets the dmz reach the data zone"),
        (flow("crm", "internet", 443), "would open the whole Internet"),
        (flow("crm", "nowhere"), "is no tier, node or place outside"),
        (flow("internet", "mirror"), "neither end is a node"),
    ],
)
def test_a_flow_that_breaks_an_invariant_is_refused(
    problems: Callable[[dict[str, Any]], list[str]], changes: dict[str, Any], rule: str
) -> None:
    assert any(rule in line for line in problems(changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (flow("nobody", "internet", 0), ["flows.0.port", "flows.0.source", "flows.0.destination"]),
        (flow("No Body", "nowhere"), ["flows.0.source", "flows.0.destination"]),
        (flow("edge", "postgres", 5432, en="x"), ["flows.0.en", "flows (edge>postgres-tcp5432)"]),
        (flow("crm", "nowhere", why="so"), ["flows.0.why", "flows.0.destination"]),
        (flow("edge", "crm", 22, protocol="icmp"), ["flows.0.protocol"]),  # rules speak of ports: no guess at them
    ],
)
def test_all_faults_of_a_flow_are_told_at_once(
    problems: Callable[[dict[str, Any]], list[str]], changes: dict[str, Any], told: list[str]
) -> None:
    assert [line.partition(": ")[0] for line in problems(changes)] == told


@pytest.mark.parametrize("place", ["operators", "others"])
def test_a_place_outside_that_is_inside_is_refused(problems: Callable[[dict[str, Any]], list[str]], place: str) -> None:
    """An operators' network that holds the sites would let every host inside open SSH to the bastion."""
    outside = {"operators": {"operators": ["10.0.0.0/8"]}, "others": {"others": {"partner": ["10.77.0.64/27"]}}}[place]
    assert any("overlaps the environment's own networks" in line for line in problems({"outside": outside}))


@pytest.mark.parametrize("folder", ["etc/tls", "/etc/tls\nInclude /etc/shadow", "/etc/a b", "/etc/$(id)"])
def test_a_folder_that_is_no_plain_path_is_refused(
    problems: Callable[[dict[str, Any]], list[str]], folder: str
) -> None:
    lines = problems({"edge": {"certificate": "files", "certificate_files": folder}})
    assert lines
    assert lines[0].startswith("edge.certificate_files: ")


@pytest.mark.parametrize(
    "text", ['x" accept; }', "a\nb accept", "$(reboot)", "`id`", "}; flush ruleset; {", "tcp dport 22 | accept", "a;b"]
)
def test_text_that_tries_to_be_a_rule_is_refused(problems: Callable[[dict[str, Any]], list[str]], text: str) -> None:
    assert problems(flow("crm", "log", en=text))[0].startswith("flows.0.en: ")
    assert any("flows.0.source" in line for line in problems(flow(text, "log")))
    assert problems({"outside": {"others": {text: ["10.9.9.9/32"]}}})


def test_a_flow_of_the_operator_reaches_both_firewalls(tmp_path: Path) -> None:
    file = tmp_path / "environment.yaml"
    extra = {**LAB, **flow("log", "siem", 6514), "outside": {"others": {"siem": ["10.9.0.5/32"]}}}
    file.write_text(yaml.safe_dump(extra), encoding="utf-8")
    rendered = renderings(Topology.of(load_environment(file)))
    assert (
        'ip daddr { 10.9.0.5 } tcp dport 6514 ct state new accept comment "log>siem-tcp6514"'
        in rendered["firewall/aud1.nft"]
    )
    assert "log>siem-tcp6514" in rendered["firewall/router-a.nft"]
    assert "siem" not in rendered["firewall/crm1.nft"]


def test_a_duty_that_nobody_has_is_refused(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    operators = [*LAB["operators"][:2], {"name": "zhao-liu", "duty": "system"}]
    assert "nobody has the duty 'security'" in problems({"operators": operators})[0]


def test_a_shared_or_weak_key_is_refused(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKxiqn6nUdMwOAF7rKMLs8uUoDoVkjSoSV5Upx1VGdVf"
    operators = copy.deepcopy(LAB["operators"])
    operators[0]["keys"] = [key + " one"]
    operators[1]["keys"] = [key + " two"]
    assert "one key is given to two people" in problems({"operators": operators})[0]
    for weak in ("ssh-dss AAAA x", 'command="id" ' + key, "ssh-rsa AAAAB3NzaC1yc2E= short", key + "\nssh-ed25519 AAAA"):
        operators[1]["keys"] = [weak]
        assert "operators.1.keys.0" in problems({"operators": operators})[0]


def test_an_operator_without_a_key_and_half_a_key_are_refused(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    operators = copy.deepcopy(LAB["operators"])
    operators[2]["keys"] = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKxiqn6nUdMwOAF7rKMLs8u li-na"]
    assert (
        "operators.2.keys.0: is not a whole OpenSSH public key; the one line" in problems({"operators": operators})[0]
    )
    short = rsa.generate_private_key(65537, 2048).public_key()
    line = short.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    operators[2]["keys"] = [line]
    assert "operators.2.keys.0: is an RSA key of 2048 bits, 3072 are wanted" in problems({"operators": operators})[0]
    said = problems({"operators": LAB["operators"], "backend": "existing"})
    assert any(line.endswith("operators.0.keys: 'li-na' has no key; at least one OpenSSH public key") for line in said)


def test_people_have_accounts_where_their_duty_is() -> None:
    topology = Topology.of(load_environment("lab"))
    there = {node.name: [one.duty for one in accounts_on(topology.env, node)] for node in topology.nodes}
    assert there["db1"] == ["system", "audit", "security"]
    assert there["aud1"] == there["aud2"] == ["audit", "security"]


def test_another_key_or_duty_is_another_principal() -> None:
    one, other = (
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKxiqn6nUdMwOAF7rKMLs8uUoDoVkjSoSV5Upx1VGdVf",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDZUSuBqGYDqj6W4FQVMmUFJmGMQdTHpQe0m0FoBV9vQ",
    )
    assert principal("li-na", "system", [one, other]) == principal("li-na", "system", [other + " new name", one])
    assert len({principal("li-na", *rest) for rest in (("system", [one]), ("audit", [one]), ("system", [other]))}) == 3
    assert principal("li-na", "system", [one]).startswith("li-na.system.")


def test_an_openpgp_key_reaches_the_roles_and_a_broken_one_is_refused(
    problems: Callable[[dict[str, Any]], list[str]], tmp_path: Path
) -> None:
    operators = copy.deepcopy(LAB["operators"])
    operators[0]["pgp"] = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
    assert "operators.0.pgp" in problems({"operators": operators})[0]
    operators[0]["pgp"] = "mDME" * 60
    (tmp_path / "environment.yaml").write_text(yaml.safe_dump({**LAB, "operators": operators}), encoding="utf-8")
    topology = Topology.of(load_environment(tmp_path))
    variables = inventory(topology, Places(topology.env.name))["_meta"]["hostvars"]["sec1"]
    assert [operator.get("pgp") for operator in variables["jinku_operators"]] == ["mDME" * 60, None, None]


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
    problems: Callable[[dict[str, Any]], list[str]], address: str, points: dict[str, Any], wrong: str
) -> None:
    point = {"quantity": "water", "place": "floor", "oid": "1.3.6.1.4.1.5.0", **points}
    assert any(
        line.startswith(wrong)
        for line in problems({"room": {"devices": {"a": {"address": address, "points": [point]}}}})
    )


def test_two_points_of_one_place_are_refused(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    point = {"quantity": "water", "place": "floor", "oid": "1.3.6.1.4.1.5.0"}
    device = {"address": "10.77.0.200", "points": [point, point]}
    assert "water at floor is written 2 times" in problems({"room": {"devices": {"a": device}}})[0]


def test_alarms_go_nowhere_but_to_whole_addresses(problems: Callable[[dict[str, Any]], list[str]]) -> None:
    mail = {
        "address": "10.9.1.12",
        "name": "relay.example.internal",
        "sender": "a@example.internal",
        "to": {"system": ["b"]},
    }
    assert problems({"alerts": {"mail": mail}})[0].startswith("alerts.mail.to.system.0: ")
    hook = {"address": "10.9.1.13", "name": "duty.example.internal", "path": "/x' y"}
    assert problems({"alerts": {"webhook": hook}})[0].startswith("alerts.webhook.path: ")


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "environment.yaml"
    file.write_text(yaml.safe_dump(LAB) + "\nlevel: 2\n", encoding="utf-8")
    with pytest.raises(InputError, match="the key 'level' is written twice"):
        load_environment(file)


def test_a_day_that_does_not_exist_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "environment.yaml"
    file.write_text("schema_version: 1\ncrm:\n  company: 2026-02-30\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"environment\.yaml: line 3, column 12: '2026-02-30' cannot be read .*; a value"
    ):
        load_environment(file)


def test_an_environment_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(InputError, match="one of lab, small, standard"):
        load_environment("labb")


if __name__ == "__main__":
    import os

    os.environ["JINKU_STATE_DIR"] = "/state"
    for example in EXAMPLES:
        for name, text in renderings(Topology.of(load_environment(example))).items():
            path = GOLDEN / example / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
