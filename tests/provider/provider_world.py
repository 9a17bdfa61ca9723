# SPDX-License-Identifier: Apache-2.0
"""The provider as Pulumi's engine asks it, for one small environment of its own on this machine."""

import asyncio
import subprocess
from pathlib import Path

from pulumi.provider.experimental import provider as protocol

from jinku import lab_network
from stacks.provider.lab import cgroups, names
from stacks.provider.progress import Progress
from stacks.provider.server import LabProvider
from stacks.provider.values import plain_map, wrapped_map

ENV = "provider-test"
PERMISSIVE = "table inet jinku\ndelete table inet jinku\ntable inet jinku {\n chain forward {\n  type filter hook forward priority 0;\n }\n}\n"
ROUTER = {
    "env": ENV,
    "site": "a",
    "wan_address": "172.29.197.2/24",
    "wan_address6": "fd97:ff::2/64",
    "zones": [
        {"zone": "data", "address": "10.197.0.1/27", "address6": "fd97:a::1/64"},
        {"zone": "link", "address": "10.197.0.33/27", "address6": ""},  # a zone may have an awkward name
    ],
    "ruleset": PERMISSIVE,
}
NETWORK = {"env": ENV, "site": "a", "zone": "data", "network": "10.197.0.0/27", "network6": "fd97:a::/64"}
VOLUME = {"env": ENV, "site": "a", "name": "db1-data", "size_gib": 1, "disposable": False}


class Engine:
    """Asks the provider what Pulumi's engine would ask."""

    def __init__(self):
        self.provider = LabProvider(Progress(""))

    @staticmethod
    def urn(kind):
        return f"urn:pulumi:s::p::jinku:index:Site$jinku:lab:{kind}::x"

    def create(self, kind, inputs, *, preview=False):
        request = protocol.CreateRequest(self.urn(kind), wrapped_map(inputs), 0, preview)
        return plain_map(asyncio.run(self.provider.create(request)).properties)

    def read(self, kind, state):
        request = protocol.ReadRequest(self.urn(kind), "id", wrapped_map(state), {})
        return plain_map(asyncio.run(self.provider.read(request)).properties)

    def diff(self, kind, state, inputs):
        request = protocol.DiffRequest(self.urn(kind), "id", wrapped_map(state), wrapped_map(inputs), [])
        return asyncio.run(self.provider.diff(request))

    def update(self, kind, state, inputs):
        request = protocol.UpdateRequest(
            self.urn(kind), "id", wrapped_map(state), wrapped_map(inputs), 0, [], preview=False
        )
        return plain_map(asyncio.run(self.provider.update(request)).properties)

    def delete(self, kind, state):
        asyncio.run(self.provider.delete(protocol.DeleteRequest(self.urn(kind), "id", wrapped_map(state), 0)))


def machine():
    """What of the machine must be as before, without what other environments may be doing at the same time."""
    ours = names.prefix(ENV)

    def lines(*command):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    return {
        "links": [
            line
            for line in lines("ip", "-br", "link")
            if "jk-provider" in line or lab_network.controller_interface(ENV) in line
        ],
        "routes": [line for line in lines("ip", "route") if "10.197." in line or "172.29.197." in line],
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if ours in line],
        "cgroups": cgroups.found(ours),
        "nft": lines("nft", "list", "ruleset"),
        "forwarding": lines("sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"),
    }
