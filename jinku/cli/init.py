# SPDX-License-Identifier: Apache-2.0
"""`jinku init`: starts a new environment from a commented example."""

import hashlib
from pathlib import Path

import click
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from jinku.cli.exit_codes import ExitCode, Failure
from jinku.model import InputError, load_environment
from jinku.model.loading import INVENTORIES


@click.command("init")
@click.argument("name")
@click.option(
    "--profile",
    type=click.Choice(["small", "standard"]),
    default="small",
    show_default=True,
    help="small: one host a zone; standard: redundant, level 3.",
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
    folder = Path(name) if "/" in name else INVENTORIES / name
    file = folder / "environment.yaml"
    if file.exists():
        raise Failure(f"{file}: (file): is there already; another name", ExitCode.USAGE)
    templates = Environment(
        loader=PackageLoader("jinku.cli"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=select_autoescape(),
    )
    label = folder.resolve().name
    number = 80 + hashlib.sha256(label.encode()).digest()[0] % 160  # two labs on one machine rarely share networks
    text = templates.get_template("environment.yaml.j2").render(
        name=label, profile=profile, backend=backend, number=number
    )
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    try:
        load_environment(file)
    except InputError as error:
        if backend == "lab":  # the example is whole, so it is the name that cannot be used
            file.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()
            raise
        todo = [line.replace(f"{file}: ", "  ") for line in error.problems]
        controls = _controls(folder, templates, label)
        click.echo(
            f"{file}\n{controls}\nTo be filled in before `jinku doctor --env {name}`:\n"
            + "\n".join(todo)
            + f"\nThen `jinku doctor --env {name}` says what each host lacks, and `jinku contact --env {name}` gets on to them"
        )
        return
    controls = _controls(folder, templates, label)
    click.echo(f"{file}\n{controls}\nNext: read them, then `jinku plan --env {name}` and `jinku up --env {name}`")


def _controls(folder: Path, templates: Environment, name: str) -> Path:
    """Write a controls.yaml in which nothing holds yet, unless there is one. :returns: its path."""
    file = folder / "controls.yaml"
    if not file.exists():
        file.write_text(templates.get_template("controls.yaml.j2").render(name=name), encoding="utf-8")
    return file
