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
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from jinku.evidence.channel import far_end
from jinku.model import InputError, Topology

from .probes import LISTEN, OUTSIDE, Stranger


class Probe(BaseModel):
    """One probe. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: IPv4Address
    address6: IPv6Address | None = None
    foreign: IPv4Address | None = None
    command: tuple[str, ...] = Field(min_length=1)


def file_of(folder: Path) -> Path:
    """The file of an environment. ``folder``: of environment.yaml."""
    return folder / "probes.yaml"


def wanted(topology: Topology) -> set[str]:
    """Keys of the probes that the network tests need: one a zone with nodes, and one outside."""
    return {f"{node.site}-{node.zone}" for node in topology.nodes} | {OUTSIDE}


def read(folder: Path, topology: Topology) -> dict[str, Probe]:
    """The probes by key; {} without a file. :raises InputError: the file is not whole."""
    file = file_of(folder)
    if not file.exists():
        return {}
    told = yaml.safe_load(file.read_text(encoding="utf-8"))
    found = told.get("probes") if isinstance(told, dict) else None
    if not isinstance(found, dict) or told.get("schema_version") != 1:
        raise InputError([f"{file}: (file): is no list of probes; `schema_version: 1` and `probes:`"])
    if missing := sorted(wanted(topology) - found.keys()):
        raise InputError([f"{file}: probes: {', '.join(missing)} missing; one a zone with nodes, and {OUTSIDE}"])
    try:
        chosen = {key: found[key] for key in sorted(wanted(topology))}
        return TypeAdapter(dict[str, Probe]).validate_python(chosen)
    except ValidationError as error:
        detail = error.errors()[0]
        field = ".".join(map(str, detail["loc"]))
        raise InputError(
            [f"{file}: probes: {field}: {detail['msg'].lower()}; as in docs/manual/network-team"]
        ) from None


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
