# SPDX-License-Identifier: Apache-2.0
"""What the Pulumi program asks of the provider `jinku`, without an engine: the two must understand each other."""

import asyncio
import runpy
import shutil

import pulumi
import pytest
from pulumi.runtime.mocks import MockCallArgs, MockResourceArgs, Mocks, set_mocks

from jinku.model import Topology, load_environment
from jinku.places import CHECKOUT, Places
from stacks.backends import lab
from stacks.components import SiteComponent
from stacks.provider.kinds import KINDS
from stacks.provider.values import problems


class Recorder(Mocks):
    """Remembers every resource; images get the path that the provider would give them."""

    def __init__(self):
        self.seen = {}

    def new_resource(self, args: MockResourceArgs):
        self.seen[args.typ, args.name] = dict(args.inputs)
        outputs = {"path": f"/cache/images/{args.name}", "digest": args.name, "ssh_host_key": "ssh-ed25519 AAAA"}
        return f"{args.name}-id", {**args.inputs, **outputs}

    def call(self, args: MockCallArgs):  # noqa: ARG002 - nothing is called
        return {}


@pytest.fixture
def loop():
    """A loop of its own: Pulumi's mocks take the thread's, which an `asyncio.run` of another test has removed."""
    own = asyncio.new_event_loop()
    asyncio.set_event_loop(own)
    yield own
    asyncio.set_event_loop(None)
    own.close()


@pytest.fixture
def declared(tmp_path, monkeypatch, loop):  # noqa: ARG001 - set up before, closed after
    """Resources of both sites of the lab, and the options they were declared with."""
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(lab, "ensure_part", lambda name, cache: cache / f"{name}.deb")
    options = {}
    plain = lab._Lab.__init__

    def remember(self, kind, name, inputs, outputs, opts):
        options[kind, name] = opts
        plain(self, kind, name, inputs, outputs, opts)

    monkeypatch.setattr(lab._Lab, "__init__", remember)

    def declare(**choices):
        recorder = Recorder()
        set_mocks(recorder, project="jinku", stack="lab-a", preview=False)
        topology = Topology.of(load_environment("lab").model_copy(update=choices))

        @pulumi.runtime.test
        def program():
            sites = [SiteComponent(topology, site, lab.LabBackend(topology, Places("lab"))) for site in topology.sites]
            return pulumi.Output.all(*(fact for site in sites for fact in site.nodes.values()))

        program()
        return recorder.seen, options, topology

    return declare


def test_every_input_is_one_that_the_provider_takes(declared):
    seen, _, topology = declared()
    lab_resources = {key: inputs for key, inputs in seen.items() if key[0].startswith("jinku:lab:")}
    assert {kind for kind, _ in lab_resources} == set(KINDS)
    for (kind, name), inputs in lab_resources.items():
        known = {key: value for key, value in inputs.items() if key not in KINDS[kind].outputs and value is not None}
        assert problems(KINDS[kind].inputs, known) == [], (kind, name)
        assert KINDS[kind].problems(known) == [], (kind, name)
    assert {name for kind, name in lab_resources if kind == "jinku:lab:Host"} == {node.name for node in topology.nodes}


def test_hosts_stand_on_the_image_of_their_tiers(declared):
    seen, _, _ = declared()
    assert seen["jinku:lab:Host", "db1"]["image"] == "/cache/images/base-postgres"
    assert seen["jinku:lab:Host", "aud2"]["image"] == "/cache/images/base-backup-witness"
    assert seen["jinku:lab:Image", "base-postgres"]["base"] == "/cache/images/base"
    assert "postgresql-17" in seen["jinku:lab:Image", "base-postgres"]["packages"]
    assert seen["jinku:lab:Image", "base"]["parts"][0].endswith("openbao.deb")


def test_sites_know_the_way_to_each_other(declared):
    seen, _, topology = declared()
    routes = seen["jinku:lab:Router", "router-a"]["routes"]
    there = {str(zone.network) for zone in topology.zones.values() if zone.site == "b"}
    assert there <= {route["to"] for route in routes}
    assert {route["via"] for route in routes if ":" not in route["via"]} == {"172.29.78.3"}


@pytest.mark.parametrize("disposable", [True, False])
def test_volumes_are_protected_unless_they_are_disposable(declared, disposable):
    seen, options, topology = declared(disposable=disposable)
    volumes = {name: opts for (kind, name), opts in options.items() if kind == "Volume"}
    assert set(volumes) == {volume.name for volume in topology.volumes}
    assert all(bool(opts.protect) is not disposable for opts in volumes.values())
    assert all(seen["jinku:lab:Volume", name]["disposable"] is disposable for name in volumes)
    assert not any(opts.protect for (kind, _), opts in options.items() if kind != "Volume")


def test_a_host_waits_for_its_network_and_its_volumes_only(declared):
    _, options, _ = declared()
    needed = {resource._name for resource in options["Host", "db1"].depends_on}
    assert needed == {"a-data", "db1-data"}


def test_the_second_of_two_environments_of_one_name_declares_nothing(tmp_path, monkeypatch, loop):  # noqa: ARG001
    """A stock `pulumi up` would give the hosts of the first the shape of the second."""
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    first, second = (tmp_path / folder / "environment.yaml" for folder in ("first", "second"))
    for file in (first, second):
        file.parent.mkdir()
        shutil.copy(CHECKOUT / "inventories/lab/environment.yaml", file)
    state = Places("lab")
    state.make()
    state.origin.write_text(f"{first}\n")
    recorder = Recorder()
    set_mocks(recorder, project="jinku", stack="lab-a", preview=False)
    monkeypatch.setenv("JINKU_ENV", str(second.parent))
    with pytest.raises(pulumi.RunError) as refused:
        runpy.run_path(str(CHECKOUT / "stacks/__main__.py"))
    told = str(refused.value)
    assert told.startswith(f"{second}: name: is 'lab', and the state in {state.state} is that of {first}; another name")
    assert "\n" not in told
    assert not recorder.seen
