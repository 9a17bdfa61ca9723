# SPDX-License-Identifier: Apache-2.0
"""The provider's pure logic: names, sources, recipes, differences, what a host is given. Makes nothing, needs no root."""

import asyncio
import os
from dataclasses import replace

import pytest
from pulumi.provider.experimental.property_value import Computed, PropertyValue

from jinku import lab_network
from stacks.provider.kinds import KINDS, kind_of
from stacks.provider.lab import cgroups, hosts, identity, images, names, outside, routers, sources
from stacks.provider.lab.process import LabError
from stacks.provider.server import difference, preview
from stacks.provider.values import plain_map, problems, wrapped_map

HOST = hosts.Host(
    env="lab",
    site="a",
    name="db1",
    fqdn="db1.lab.internal",
    zone="data",
    image="/cache/images/0123456789abcdef",
    address="10.77.0.68/27",
    gateway="10.77.0.65",
    automation_key="ssh-ed25519 AAAA automation@lab",
    address6="fd77:a:0:2::4/64",
    gateway6="fd77:a:0:2::1",
    volumes=(hosts.Mount("db1-data", "/var/lib/postgresql"),),
    mirror="172.29.77.1",
)
INPUTS = {
    "env": "lab",
    "site": "a",
    "name": "db1",
    "fqdn": "db1.lab.internal",
    "zone": "data",
    "image": "/cache/images/0123456789abcdef",
    "address": "10.77.0.68/27",
    "gateway": "10.77.0.65",
    "automation_key": "ssh-ed25519 AAAA",
}
DEBIAN_SOURCES = """\
Types: deb deb-src
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
Enabled: no
URIs: http://old.example/debian
Suites: buster

Types: deb
URIs: http://security.example/debian-security/
Suites: bookworm-security
Components: main
"""


def test_an_environment_never_finds_what_belongs_to_one_whose_name_begins_alike():
    assert not names.host("lab-2", "a", "db1").startswith(names.prefix("lab"))


@pytest.mark.parametrize("name", ["", "Lab", "lab.x", "../lab", "1lab", "lab/x", "x" * 33])
def test_a_name_that_could_leave_its_place_is_refused(name):
    with pytest.raises(ValueError, match="no name of an environment"):
        names.prefix(name)


def test_an_interface_name_fits_the_kernel_and_stays_unique():
    long = [lab_network.interface(f"h.a-very-long-node-name-{number}") for number in range(20)]
    assert all(len(name) <= lab_network.INTERFACE_MAX for name in long)
    assert len(set(long)) == 20
    assert lab_network.controller_interface("lab") == "jk-lab-wan"


def test_sources_are_read_from_both_formats_and_disabled_stanzas_are_left_out(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(DEBIAN_SOURCES)
    found = sources.controller_sources(tmp_path)
    assert found == sources.Sources("http://archive.example/debian", "http://security.example/debian-security")
    assert found.lines("trixie")[-1] == "deb http://security.example/debian-security trixie-security main"
    assert found.hosts() == {"archive.example", "security.example"}

    (tmp_path / "sources.list.d/debian.sources").unlink()
    (tmp_path / "sources.list").write_text(
        "# deb http://no.example x main\ndeb [arch=amd64] http://yes.example/d trixie main\n"
    )
    assert sources.controller_sources(tmp_path) == sources.Sources("http://yes.example/d", None)


def test_a_machine_without_debian_sources_is_told_where_they_should_be(tmp_path):
    with pytest.raises(LabError, match=r"debian\.sources: no Debian archive"):
        sources.controller_sources(tmp_path)


def test_an_images_address_follows_from_its_content_and_not_from_order(tmp_path):
    part = tmp_path / "part.deb"
    part.write_text("one")
    first = images.recipe("trixie", ["b", "a", "a"], [str(part)]).digest()
    assert first == images.recipe("trixie", ["a", "b"], [str(part)]).digest()
    assert first != images.recipe("trixie", ["a"], [str(part)]).digest()
    assert first != images.recipe("trixie", ["a", "b"], [str(part)], base="/cache/images/ffff").digest()
    part.write_text("two")
    assert first != images.recipe("trixie", ["a", "b"], [str(part)]).digest()


def test_a_missing_part_is_named():
    with pytest.raises(LabError, match=r"parts: /nowhere/x\.deb"):
        images.recipe("trixie", ["a"], ["/nowhere/x.deb"]).digest()


def test_cgroup_layouts(tmp_path):
    with pytest.raises(LabError, match="neither cgroup v2"):
        cgroups.hierarchies(tmp_path)
    (tmp_path / "unified").mkdir()
    (tmp_path / "systemd").mkdir()
    (tmp_path / "unified/cgroup.controllers").touch()
    assert cgroups.hierarchies(tmp_path) == [tmp_path / "systemd", tmp_path / "unified"]
    (tmp_path / "cgroup.controllers").touch()
    assert cgroups.hierarchies(tmp_path) == [tmp_path]


def test_the_network_unit_is_static_and_has_both_families():
    unit = identity.network_unit(HOST)
    assert "Address=10.77.0.68/27" in unit
    assert "Gateway=10.77.0.65" in unit
    assert "Address=fd77:a:0:2::4/64" in unit
    assert "Gateway=fd77:a:0:2::1" in unit
    assert "DHCP=no" in unit
    assert "IPv6AcceptRA=no" in unit
    assert "fd77" not in identity.network_unit(replace(HOST, address6="", gateway6=""))


@pytest.mark.parametrize(
    ("mirror", "url"),
    [
        ("172.29.77.1", "http://172.29.77.1:3142"),
        ("fd77::1", "http://[fd77::1]:3142"),
        ("http://mirror.example:8080", "http://mirror.example:8080"),
    ],
)
def test_a_mirror_may_be_an_address_or_a_url(mirror, url):
    assert identity.proxy(mirror) == url


def test_a_file_is_placed_with_the_folders_of_the_image(tmp_path):
    layer, upper = tmp_path / "layer", tmp_path / "upper"
    (layer / "etc/secret").mkdir(parents=True)
    (layer / "etc/secret").chmod(0o710)
    (layer / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    upper.mkdir()
    try:
        identity.place(upper, [layer], identity.Path("etc/secret/x"), "text", 0o640)
    except PermissionError:
        pytest.skip("needs root: it gives the file an owner")
    assert (upper / "etc/secret").stat().st_mode & 0o777 == 0o710
    assert (upper / "etc/secret/x").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives files an owner")
def test_a_link_that_a_host_put_in_the_way_leads_to_no_file_of_the_controller(tmp_path):
    layer, upper, mine = tmp_path / "layer", tmp_path / "upper", tmp_path / "mine"
    (layer / "etc").mkdir(parents=True)
    (layer / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nautomation:x:1000:1000::/home/automation:/bin/sh\n")
    (upper / "home/automation").mkdir(parents=True)
    (upper / "etc").mkdir()
    mine.mkdir(mode=0o755)
    (mine / "ssh_host_ed25519_key.pub").write_text("ssh-ed25519 abcdefgh mine\n")
    (upper / "home/automation/.ssh").symlink_to(mine)
    with pytest.raises(identity.ForeignLinkError, match=r"home/automation/\.ssh: is no folder"):
        asyncio.run(identity.write_access(upper, [layer], HOST))
    assert sorted(file.name for file in mine.iterdir()) == ["ssh_host_ed25519_key.pub"]
    assert (mine.stat().st_uid, mine.stat().st_mode & 0o777) == (0, 0o755)
    (upper / "etc/ssh").symlink_to(mine)
    assert identity.public_key(upper) == ""
    (upper / "etc/ssh").unlink()
    (upper / "etc/ssh").mkdir()
    (upper / "etc/ssh/ssh_host_ed25519_key.pub").symlink_to(mine / "ssh_host_ed25519_key.pub")
    assert identity.public_key(upper) == ""
    assert identity.public_key(tmp_path / "layer") == "", "no folder"


def test_the_controller_is_the_first_address_of_the_wan():
    assert outside.controller_address("172.29.77.2/24") == "172.29.77.1/24"
    assert outside.controller_address("fd77:ff77::3/64") == "fd77:ff77::1/64"


def test_a_router_is_reached_on_the_wan_for_every_zone():
    router = routers.Router(
        "lab", "a", "172.29.77.2/24", (routers.Leg("dmz", "10.77.0.1/27", "fd77::1/64"),), "", "fd77:ff77::2/64"
    )
    assert router.back() == [
        "route replace 10.77.0.0/27 via 172.29.77.2",
        "route replace fd77::/64 via fd77:ff77::2",
    ]
    assert [port.far for port in router.ports()] == ["dmz", "wan"]


def test_wrong_inputs_are_all_named_at_once():
    found = dict(problems(hosts.Host, {**INPUTS, "colour": "red", "volumes": "none", "image": Computed()}))
    assert set(found) == {"colour", "volumes"}
    assert "no such input" in found["colour"]
    missing = dict(problems(hosts.Host, {"env": "lab"}))
    assert "address" in missing


def test_a_state_equal_to_the_inputs_is_no_change():
    state = {**INPUTS, "address6": "", "volumes": [], "ssh_host_key": "ssh-ed25519 A", "state": "running"}
    assert difference(kind_of("jinku:lab:Host"), state, INPUTS, frozenset()).changes is False


def test_a_stopped_host_is_mended_and_not_replaced():
    answer = difference(kind_of("jinku:lab:Host"), {**INPUTS, "state": "stopped"}, INPUTS, frozenset())
    assert answer.changes is True
    assert answer.replaces == []
    assert answer.diffs == ["state"]


@pytest.mark.parametrize(
    ("token", "key", "replaced"),
    [
        ("jinku:lab:Host", "image", True),
        ("jinku:lab:Host", "address", True),
        ("jinku:lab:Host", "automation_key", False),
        ("jinku:lab:Volume", "size_gib", False),
        ("jinku:lab:Volume", "name", True),
        ("jinku:lab:Router", "ruleset", False),
        ("jinku:lab:Network", "zone", True),
    ],
)
def test_what_a_change_means(token, key, replaced):
    answer = difference(kind_of(token), {key: "old"}, {key: "new"}, frozenset())
    assert answer.changes is True
    assert (answer.replaces == [key]) is replaced
    assert difference(kind_of(token), {key: "old"}, {key: "new"}, frozenset({key})).changes is False


def test_a_part_with_new_content_makes_a_new_image(tmp_path):
    part = tmp_path / "x.deb"
    part.write_text("one")
    inputs = {"name": "base", "suite": "trixie", "cache": str(tmp_path), "packages": ["a"], "parts": [str(part)]}
    kind = kind_of("jinku:lab:Image")
    state = {**inputs, **kind.foreseen(inputs)}
    assert difference(kind, state, inputs, frozenset()).changes is False
    part.write_text("two")
    assert difference(kind, state, inputs, frozenset()).replaces == ["parts"]


def test_a_preview_foresees_the_image_and_leaves_a_hosts_key_open(tmp_path):
    inputs = {"name": "base", "suite": "trixie", "cache": str(tmp_path), "packages": ["a"]}
    assert str(preview(kind_of("jinku:lab:Image"), inputs)["path"].value).startswith(str(tmp_path))
    assert plain_map(preview(kind_of("jinku:lab:Host"), INPUTS))["ssh_host_key"] != ""
    assert not list(tmp_path.iterdir())


def test_a_type_is_found_at_the_end_of_its_parents():
    assert kind_of("jinku:index:Site$jinku:index:Node$jinku:lab:Host") is KINDS["jinku:lab:Host"]
    with pytest.raises(LabError, match="no resource type"):
        kind_of("jinku:lab:Cloud")


def test_values_survive_the_way_to_pulumi_and_back():
    values = {"a": "text", "n": 3, "yes": True, "list": [{"b": "c"}, 4], "empty": ""}
    assert plain_map(wrapped_map(values)) == values
    assert plain_map({"gone": PropertyValue(None), "__defaults": PropertyValue([])}) == {}


@pytest.mark.parametrize(("kind", "size", "wrong"), [("jinku:lab:Volume", 0, True), ("jinku:lab:Volume", 1, False)])
def test_a_volume_has_a_size(kind, size, wrong):
    assert bool(kind_of(kind).problems({"env": "lab", "size_gib": size})) is wrong


@pytest.mark.parametrize(
    ("route", "clash"),
    [
        ({"dst": "10.77.0.0/27", "dev": "eth0", "gateway": "192.0.2.1"}, True),  # the very same
        ({"dst": "10.77.0.5", "dev": "eth0", "gateway": "192.0.2.1"}, True),  # a host in it
        ({"dst": "10.0.0.0/8", "dev": "eth0"}, True),  # the machine's own wire
        ({"dst": "10.0.0.0/8", "dev": "tun0", "gateway": "10.8.0.1"}, False),  # a wide route elsewhere stays
        ({"dst": "10.77.0.0/27", "dev": "jk-lab-wan", "gateway": "172.29.77.2"}, False),  # ours
        ({"dst": "default", "dev": "eth0", "gateway": "192.0.2.1"}, False),
        ({"dst": "fe80::/64", "dev": "eth0"}, False),
        ({"dst": "10.78.0.0/16", "dev": "eth0"}, False),
    ],
)
def test_a_network_that_the_machine_uses_already_is_refused(route, clash):
    assert bool(lab_network.taken(["10.77.0.0/27", "fd77::/64"], [route], "jk-lab-wan")) is clash
