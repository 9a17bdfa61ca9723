# SPDX-License-Identifier: Apache-2.0
"""The compliance tests run by themselves, too: ``JINKU_ENV=lab pytest compliance_tests``."""

import pytest
from faults.probes import inside_namespace, possible, router_namespace

from jinku.model import Topology

pytest_plugins = ["jinku.evidence.plugin"]


@pytest.hookimpl(tryfirst=True)
def pytest_jinku_argv(config: pytest.Config, node: str) -> list[str] | None:
    """The lab's routers are namespaces of this machine; a real site's router belongs to its network team."""
    if not node.startswith("router-"):
        return None
    topology: Topology = config.pluginmanager.get_plugin("jinku-check").topology
    if possible(topology):
        return ["sh", "-c", "echo 'the router of a site is not managed by Jinku; ask its network team' >&2; exit 1"]
    return inside_namespace(router_namespace(topology, node.removeprefix("router-")))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin what takes long and changes nothing, the probes of the network, while other tests run."""
    if session.config.getoption("collectonly"):
        return
    check = session.config.pluginmanager.get_plugin("jinku-check")
    for module in {item.module for item in session.items if "sweep" in getattr(item, "fixturenames", ())}:
        module.begin(check.fleet, check.topology)
