# SPDX-License-Identifier: Apache-2.0
"""Which environment a verb works on: `--env` before or after the verb, else JINKU_ENV, else `lab`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from jinku import lock, origin
from jinku.model import Environment, Topology, environment_file, load_environment
from jinku.places import Places

DEFAULT = "lab"
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Selection:
    """One environment: its file and all that is computed from it. ``file``: path of environment.yaml."""

    file: Path
    environment: Environment

    @classmethod
    def of(cls, name_or_path: str) -> "Selection":
        """Load an environment. :raises jinku.model.InputError: it is not there, or something in it is wrong."""
        file = environment_file(name_or_path)
        return cls(file, load_environment(file))

    @property
    def folder(self) -> Path:
        """Folder of environment.yaml, and of whatever else the environment's owner keeps beside it."""
        return self.file.parent

    @cached_property
    def topology(self) -> Topology:
        """Nodes and flows."""
        return Topology.of(self.environment)

    @cached_property
    def places(self) -> Places:
        """Where its state lies. :raises jinku.model.InputError: it is that of another environment.yaml with the same name."""
        return origin.places_of(self.environment.name, self.file)

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the operators who are here."""
        return tuple(one.name for one in self.environment.operators if one.state == "present")

    @contextmanager
    def hold(self, verb: str) -> Iterator[None]:
        """Hold the environment while the block runs, and note that its state is this file's.

        :raises jinku.lock.LockedError: another process holds it.
        :raises jinku.model.InputError: as :attr:`places`.
        """
        with lock.hold(self.places, verb, self.environment.timezone):
            if said := origin.remember(self.places, self.file):
                click.echo(said, err=True)
            yield


def environment_option(command: Callable[P, R]) -> Callable[P, R]:
    """Give a verb the option `--env`; the verb receives a :class:`Selection` as ``env``."""

    def load(context: click.Context, _: click.Parameter, value: str | None) -> Selection:
        given = value or (context.find_root().params.get("env")) or os.environ.get("JINKU_ENV") or DEFAULT
        return Selection.of(str(given))

    text = "Environment: a name under inventories/, or the path of a folder with environment.yaml.  [default: JINKU_ENV, else lab]"
    decorate: Any = click.option("--env", "env", metavar="NAME|PATH", callback=load, help=text)
    decorated: Callable[P, R] = decorate(command)
    return decorated
