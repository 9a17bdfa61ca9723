# SPDX-License-Identifier: Apache-2.0
"""The compliance tests run by themselves, too: ``JINKU_ENV=lab pytest compliance_tests``."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from faults.probes import inside_namespace, possible, router_namespace
from faults.sweep import Pairs, Sweep, begun
from people_sessions import _people, people  # noqa: F401 - fixtures; imported by two modules they would run twice
from vault_clients import _doors, vault  # noqa: F401 - likewise

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


#: Modules that ask about what may be to come just after `up`: first copies, seals, looks of the monitor.
LAST = ("test_witness", "test_backup", "test_room", "test_monitor")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try last what time brings, so that as little as possible is waited for."""
    items.sort(key=lambda item: LAST.index(item.path.stem) if item.path.stem in LAST else -1)


_BEGUN: list[Future[Pairs]] = []


def _begin(config: pytest.Config) -> None:
    check = config.pluginmanager.get_plugin("jinku-check")
    _BEGUN.append(ThreadPoolExecutor(1).submit(begun, check.fleet, check.topology, check.file.parent))


def _result(config: pytest.Config) -> Pairs:
    """The newest; one that could not be made is made once more for who asks next."""
    newest = _BEGUN[-1]
    if newest.done() and newest.exception():
        _begin(config)
    return _BEGUN[-1].result()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin what takes long and changes nothing, the probes of the network, while other tests run."""
    if session.config.getoption("collectonly"):
        return
    wanted = any({"sweep", "pairs"} & set(getattr(item, "fixturenames", ())) for item in session.items)
    if wanted:
        _begin(session.config)


@pytest.fixture(scope="session")
def _sweeps() -> Iterator[None]:
    """Remove the strangers at the end."""
    yield
    for future in _BEGUN:
        with contextlib.suppress(Exception):  # what could not be made is nothing to close
            future.result().close()


@pytest.fixture
def sweep(topology: Topology, pytestconfig: pytest.Config, _sweeps: None) -> Sweep:
    """Every pair of the network tried (faults/sweep.py); where no stranger can be placed, the test declines to judge."""
    found = _result(pytestconfig)
    if not isinstance(found, Sweep):
        pytest.skip(possible(topology))
    return found


@pytest.fixture
def pairs(pytestconfig: pytest.Config, _sweeps: None) -> Pairs:
    """Every pair of nodes tried by the nodes themselves; works wherever they can be reached."""
    return _result(pytestconfig)
