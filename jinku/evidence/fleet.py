# SPDX-License-Identifier: Apache-2.0
"""All channels of one session, opened side by side, and the notebook that they write into."""

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from testinfra.host import Host

from jinku.evidence.channel import Channel, Unreachable, far_end, host_over, observation_of
from jinku.evidence.records import Observation, Substrate

CONTROLLER = "controller"


class Notebook:
    """Every observation of a session by id, and those that the running test rests on."""

    def __init__(self) -> None:
        self.all: dict[str, Observation] = {}
        self._page: dict[str, None] = {}
        self._own = 0

    def turn(self) -> None:
        """Begin an empty page, for the next test."""
        self._page = {}

    @property
    def page(self) -> tuple[str, ...]:
        """Ids of the observations of the running test, in the order asked."""
        return tuple(self._page)

    def add(self, observation: Observation) -> None:
        """Keep an observation, and count it to the running test if that test itself asked.

        What other threads ask (probes that run beside the tests) counts for the test that asks for it again.
        """
        self.all[observation.id] = observation
        if threading.current_thread() is threading.main_thread():
            self._page[observation.id] = None

    def observe(self, where: str, command: str, output: str, exit_code: int = 0, *, began: float | None = None) -> None:
        """Keep what a test saw without a channel, such as an HTTP answer.

        ``command``: what was asked, for people; ``output``: the answer (it is masked here); ``began``: ``time.time()``
        at the question, else now.
        """
        self._own += 1
        now = datetime.now(UTC)
        seconds = max(0.0, time.time() - began) if began else 0.0
        self.add(
            observation_of(
                f"{where}-r{self._own:03d}", where, command, exit_code, output, "", ended=now, seconds=seconds
            )
        )


class Fleet:
    """Channels by name of node. ``argv_of``: command line that opens a node's channel."""

    def __init__(self, argv_of: Callable[[str], list[str]], notebook: Notebook) -> None:
        self._argv_of = argv_of
        self._notebook = notebook
        self._channels: dict[str, Channel] = {}
        self._hosts: dict[str, Host] = {}

    def channel(self, name: str) -> Channel:
        """The channel of ``name``; opening begins with the first call and does not wait."""
        if name not in self._channels:
            argv = ["sh", "-c", far_end(sudo=False)] if name == CONTROLLER else self._argv_of(name)
            self._channels[name] = Channel(name, argv)
        return self._channels[name]

    def add(self, name: str, argv: list[str]) -> Host:
        """A channel beside the nodes', such as one inside a probe's network namespace."""
        if name not in self._channels:
            self._channels[name] = Channel(name, argv)
        return self.host(name)

    def open(self, names: Iterable[str]) -> None:
        """Open channels side by side and ask each at once what it runs on."""
        for name in names:
            self.channel(name).prefetch([("systemd-detect-virt", None)])

    def host(self, name: str) -> Host:
        """Testinfra's view of a node, or of the ``controller``.

        :raises Unreachable: the node does not answer.
        """
        self.channel(name).wait_open()
        if name not in self._hosts:
            self._hosts[name] = host_over(self._channels[name], self._notebook.add)
        return self._hosts[name]

    def question(self, seen: Observation) -> tuple[str, str | None] | None:
        """The command and standard input behind an observation; ``None`` if no channel made it."""
        channel = self._channels.get(seen.where)
        return channel.questions.get(seen.id) if channel else None

    def forget(self, observations: Iterable[str]) -> None:
        """Ask again, when a test asks, what led to ``observations`` (their ids), and what was not answered."""
        seen = set(observations)
        for channel in list(self._channels.values()):
            channel.forget(seen)

    def unreachable(self) -> dict[str, str]:
        """Nodes that were tried and did not answer, with what SSH said."""
        silent = {}
        for name, channel in list(self._channels.items()):
            try:
                channel.wait_open()
            except Unreachable as error:
                silent[name] = str(error)
        return silent

    def substrate(self, name: str) -> Substrate:
        """What a node says that it runs on (``systemd-detect-virt``)."""
        if name not in self._channels:
            return "unknown"
        try:
            answer = self._channels[name].ask("systemd-detect-virt")
        except Exception:  # noqa: BLE001 - whatever broke the channel, the substrate is then not known
            return "unknown"
        said = answer.stdout.decode(errors="replace").strip()
        if said == "none":
            return "hardware"
        containers = (
            "systemd-nspawn",
            "lxc",
            "lxc-libvirt",
            "docker",
            "podman",
            "openvz",
            "container-other",
            "pouch",
            "proot",
        )
        if said in containers:
            return "container"
        return "vm" if answer.exit_code == 0 and said else "unknown"

    def close(self) -> None:
        """Close every channel."""
        for channel in list(self._channels.values()):  # threads that still probe may add one
            channel.close()
