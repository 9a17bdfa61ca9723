# SPDX-License-Identifier: Apache-2.0
"""Probes that a network team has placed: `<env>/probes.yaml`, for environments whose networks are not the lab's.

One machine a zone, or one with a leg in each and a network namespace for each leg; on it Python 3 and root, no packet filter.
``command``: what goes before a shell command to run it there, on the controller's account.

    schema_version: 1
    probes:
      a-dmz:   {address: 10.84.0.5, address6: "fd84:a::5", foreign: 10.84.0.14, command: [ssh, -F, probes.ssh, probe-a-dmz, --]}
      outside: {address: 192.0.2.66, command: [ssh, -F, probes.ssh, probe-outside, --]}

``foreign``: an address of another zone that the probe holds, too, to try whether it is of any use. Relative paths are
taken from the folder of environment.yaml.
"""

import shlex
import subprocess
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError

from jinku.evidence.channel import far_end
from jinku.model import InputError, Topology
from jinku.model.error_wording import lines
from jinku.model.fields import Address4, Address6, Section
from jinku.model.loading import parse, read_text

from .probes import LISTEN, OUTSIDE, Stranger


class Probe(Section):
    """One probe."""

    address: Address4
    """Its IPv4 address in the zone."""
    address6: Address6 | None = None
    foreign: Address4 | None = None
    command: tuple[Annotated[str, Field(examples=["ssh"])], ...] = Field(min_length=1)
    """What goes before a command to run it there, a list of words."""


class File(Section):
    """The whole file."""

    schema_version: Literal[1]
    probes: dict[Annotated[str, Field(examples=["a-dmz"])], Probe]
    """The probes, by site and zone."""


def file_of(folder: Path) -> Path:
    """The file of an environment. ``folder``: of environment.yaml."""
    return folder / "probes.yaml"


def wanted(topology: Topology) -> set[str]:
    """Keys of the probes that the network tests need: one a zone with nodes, and one outside."""
    return {f"{node.site}-{node.zone}" for node in topology.nodes} | {OUTSIDE}


def read(folder: Path, topology: Topology) -> dict[str, Probe]:
    """The probes by key; {} without a file. :raises InputError: with all that makes the file not whole."""
    file = file_of(folder)
    if not file.exists():
        return {}
    data = parse(read_text(file), file, "'schema_version:' and 'probes:'")
    problems, probes = [], dict[str, Probe]()
    try:
        probes = File.model_validate(data).probes
    except ValidationError as error:
        problems = lines(error.errors(), File)
    found = data.get("probes")
    if isinstance(found, dict) and (missing := sorted(wanted(topology) - found.keys())):
        problems.append(f"probes: {', '.join(missing)} missing; one a zone with nodes, and {OUTSIDE}")
    if problems:
        raise InputError([f"{file}: {problem}" for problem in problems])
    return {key: probes[key] for key in sorted(wanted(topology))}


class PlacedStrangers:
    """The probes of a file, listening while the context is entered; the same shape as the lab's."""

    def __init__(self, topology: Topology, ports: tuple[int, ...], folder: Path) -> None:
        self._folder, self._ports = folder, ports
        self._probes = read(folder, topology)
        self._listeners: list[subprocess.Popen[str]] = []
        self.all = {
            key: Stranger(key, "", probe.address, probe.address6, probe.foreign) for key, probe in self._probes.items()
        }

    def argv(self, key: str) -> list[str]:
        """Command line of a channel whose far end runs on a probe."""
        return self._there(key, f"python3 {far_end(sudo=False).partition(' ')[2]}")

    def _there(self, key: str, command: str) -> list[str]:
        return [
            "sh",
            "-c",
            f'cd "$0" && exec "$@" {shlex.quote(command)}',
            str(self._folder),
            *self._probes[key].command,
        ]

    def __enter__(self) -> Self:
        """Begin to listen on every probe."""
        try:
            self._listen()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _listen(self) -> None:
        code = f"exec(compile({LISTEN.read_text()!r}, 'listen', 'exec'))"
        command = f"python3 -I -c {shlex.quote(code)} {' '.join(map(str, self._ports))}"
        for key in self._probes:
            there = self._there(key, command)
            self._listeners.append(subprocess.Popen(there, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        for key, listener in zip(self._probes, self._listeners, strict=True):
            assert listener.stdout is not None  # a pipe, as asked for above
            if listener.stdout.readline() != "ready\n":
                raise RuntimeError(
                    f"{file_of(self._folder)}: probes: {key}: its listener did not start; root, and free ports"
                )

    def __exit__(self, *_: object) -> None:
        """End the listeners."""
        for listener in self._listeners:
            assert listener.stdin is not None
            listener.stdin.close()
            listener.wait(10)
        self._listeners.clear()
