# SPDX-License-Identifier: Apache-2.0
"""`jinku init`: starts a new environment from a commented example."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import click
import yaml
from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined, select_autoescape
from pydantic import TypeAdapter, ValidationError

from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.given_paths import writes
from jinku.cli.preflight import several
from jinku.model import Environment, InputError, Topology
from jinku.model.fields import EnvironmentName, form_of
from jinku.model.loading import INVENTORIES, read_environment


@click.command("init")
@click.argument("name")
@click.option(
    "--profile",
    type=click.Choice(["small", "standard"]),
    default="small",
    show_default=True,
    help="small: one host a zone; standard: redundant, level 3, to look at: `jinku up` cannot make it yet.",
)
@click.option(
    "--backend",
    type=click.Choice(["lab", "existing"]),
    default="lab",
    show_default=True,
    help="lab: hosts on this machine; existing: hosts that are there, reached by SSH.",
)
def command(name: str, profile: str, backend: str) -> None:
    """Write a commented environment.yaml and controls.yaml for NAME: a new folder under inventories/, or the path of a folder anywhere."""
    folder = _folder(name)
    file, controls = folder / "environment.yaml", folder / "controls.yaml"
    label = os.fsencode(folder.absolute().name if "/" in name else name).decode(errors="replace")
    number = 80 + hashlib.sha256(label.encode()).digest()[0] % 160  # two labs on one machine rarely share networks
    text = _example("environment.yaml", name=label, profile=profile, backend=backend, number=number)
    with writes(folder, "NAME"):  # nothing is made before all of it is known to be usable
        if file.exists():
            raise Failure(f"{file}: (file): is there already; another name", ExitCode.USAGE)
        _refuse_unusable(label, file)
        todo = _to_fill_in(text, file, backend)
        not_yet = several(Topology(Environment.model_validate(yaml.safe_load(text))))
        made = [path for path in (file, controls, folder, *folder.parents) if not os.path.lexists(path)]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            if controls in made:
                controls.write_text(_example("controls.yaml", name=label), encoding="utf-8")
        except OSError:
            _take_back(made)
            raise
    click.echo(f"{file}\n{controls}")
    for line in _next(name, todo, not_yet):
        click.echo(line)


def _example(file: str, **values: object) -> str:
    """Text of an example, filled in."""
    templates = Templates(
        loader=PackageLoader("jinku.cli"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=select_autoescape(),
    )
    return templates.get_template(f"{file}.j2").render(**values)


def _folder(name: str) -> Path:
    """Where it goes: below inventories/, or at a path, without the `..` of one, whose end would be no name."""
    if "/" not in name:
        return INVENTORIES / name
    return Path(os.path.realpath(name)) if ".." in Path(name).parts else Path(name)


def _refuse_unusable(label: str, file: Path) -> None:
    """:raises Failure: the folder's name cannot be an environment's, or YAML reads something else in it (`a: b`, `no`)."""
    try:
        usable = yaml.safe_load(TypeAdapter(EnvironmentName).validate_python(label)) == label
    except ValidationError:
        usable = False
    if not usable:
        right = f"{form_of(EnvironmentName).words}, and no word of YAML such as `no` or `null`"
        raise Failure(f"{file}: name: is {label!r}; {right}", ExitCode.USAGE)


def _to_fill_in(text: str, file: Path, backend: str) -> list[str]:
    """What only the owner of hosts that exist can know. :raises InputError: something is wrong with an example that is whole."""
    try:
        read_environment(text, file)
    except InputError as error:
        if backend == "lab":
            raise
        return [line.removeprefix(f"{file}: ") for line in error.problems]
    return []


def _take_back(made: list[Path]) -> None:
    """Remove what was made, inner things first; what was there before is not in the list."""
    for path in made:
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()


def _next(name: str, todo: list[str], not_yet: list[str]) -> list[str]:
    """What is to be done with the new environment. ``not_yet``: why this version cannot bring it up."""
    lines = [f"To be filled in before `jinku doctor --env {name}`:", *(f"  {line}" for line in todo)] if todo else []
    if not_yet:
        lines += ["To look at with `jinku nodes`, `flows` and `render`; this version cannot bring it up:"]
        return lines + [f"  {line}" for line in not_yet]
    if todo:
        return [
            *lines,
            f"Then `jinku doctor --env {name}` says what each host lacks, and `jinku contact --env {name}` gets on to them",
        ]
    return [f"Next: read them, then `jinku plan --env {name}` and `jinku up --env {name}`"]
