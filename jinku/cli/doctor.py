# SPDX-License-Identifier: Apache-2.0
"""`jinku doctor`: what this machine has and lacks."""

import json

import click

from jinku import doctor, engine, provision
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.listing import Listing
from jinku.cli.preflight import buildable, declared
from jinku.cli.selection import Selection, environment_option
from jinku.cli.tables import print_table
from jinku.existing import findings as hosts


@click.command("doctor", cls=Listing)
@environment_option
@click.option("--json", "as_json", is_flag=True, help=f"Print a document of the schema {doctor.SCHEMA}.")
def command(env: Selection, as_json: bool) -> None:
    """Look whether this machine can run the environment; each lack with its remedy. Changes nothing.

    With the backend `existing` it looks at every host, too, over SSH: what is missing there before `jinku up`.
    """
    buildable(env)
    declared(env)
    findings = doctor.examine(env.topology, env.places)
    if env.environment.backend == "existing":
        findings += hosts.look(env.topology, env.places, env.folder, list(env.topology.nodes))
    if as_json:
        document = {
            "schema": doctor.SCHEMA,
            "environment": env.environment.name,
            "findings": [finding.as_json() for finding in findings],
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=1))
    else:
        rows = [(f.level.value, f.host or "(here)", f.what, f.text, f.remedy) for f in findings]
        print_table(("", "host", "what", "found", "remedy"), rows)
        variables = provision.engine_env(env.places, env.folder)
        click.echo("\nFor `pulumi` and `ansible-playbook` themselves in the checkout, in a shell:")
        for name, value in variables.items():
            click.echo(f"export {name}='{value}'")
        if not engine.runs_programs():
            click.echo(
                "`pulumi preview` and `pulumi up` also need `pulumi-language-python`, which an official Pulumi installation"
                " has; the engine that Jinku built does without, and runs `pulumi refresh` and `pulumi destroy`."
            )
    if any(finding.level is doctor.Level.MISSING for finding in findings):
        where = sorted(
            {finding.host or "this machine" for finding in findings if finding.level is doctor.Level.MISSING}
        )
        raise Failure(f"something is missing: {', '.join(where)}; the remedies stand beside it", ExitCode.PREREQUISITE)
