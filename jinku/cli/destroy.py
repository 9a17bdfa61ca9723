# SPDX-License-Identifier: Apache-2.0
"""`jinku destroy`: removes an environment's hosts, networks and, where they are disposable, its data."""

import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import click

from jinku import journal, ssh_access
from jinku.cli import sites
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.progress import Progress
from jinku.cli.selection import Selection, environment_option
from jinku.model.inventory import AUTOMATION


@click.command("destroy")
@environment_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(env: Selection, yes: bool) -> None:
    """Remove the hosts and networks of the environment, and whatever a crash left of them.

    Volumes are removed only where environment.yaml says `disposable: true`; elsewhere they stay, with the keys and
    the state that a later `up` needs to use them again. The journal and the reports stay in either case. Hosts of the
    backend `existing` are their owner's: they stay as they are, with their data, and Jinku no longer knows the way to them.
    """
    name, disposable, places = env.environment.name, env.environment.disposable, env.places
    if not yes:
        click.echo(_announcement(env))
        if _typed() != name:
            raise Failure("not confirmed; nothing was touched; --yes does not ask", ExitCode.USAGE)
    begun = time.monotonic()
    with env.hold("destroy"), Progress() as progress:
        ssh_access.close(env.topology, places)
        with progress.stage("hosts, networks and volumes (pulumi destroy)"):
            results = sites.run("destroy", env, progress)
        failed = [f"site {result.site}" for result in results if result.error]
        if not failed:
            with progress.stage("leftovers"):
                failed = _sweep(env, progress)
        if not failed:
            failed = [f"{path} (still there)" for path in _forget(env)]
        seconds = time.monotonic() - begun
        journal.write(places, "destroy", env.file, {"ok": not failed, "seconds": round(seconds, 1), "failed": failed})
        kept = [volume.name for volume in env.topology.volumes] if not disposable else []
        if env.environment.backend == "existing":
            for line in _left(env):
                progress.line(line)
        elif kept:
            progress.line(
                f"kept: the volumes {', '.join(kept)}; `disposable: true`, `jinku up` and `jinku destroy` remove them too"
            )
    if failed:
        raise Failure(f"not all is gone: {', '.join(failed)}; the same command again goes on from here")


def _typed() -> str:
    """What the person answers; nothing where nobody can, as with `</dev/null`. Ctrl-C stays an interruption."""
    click.echo("Type the environment's name to go on: ", nl=False)
    return sys.stdin.readline().strip()


def _sweep(env: Selection, progress: Progress) -> list[str]:
    """Remove what Pulumi does not know of, such as what an interrupted `up` had half made. Returns what resisted."""
    if env.environment.backend != "lab":
        return []
    # a process: the product does not import the providers (tests/test_repository.py)
    volumes = ["--with-volumes"] if env.environment.disposable else []
    command = [sys.executable, "-m", "stacks.sweep", env.environment.name, *volumes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        progress.line(line)
    if done.returncode:
        progress.line(done.stderr.strip(), "red")
    return ["leftovers of the lab"] if done.returncode else []


def _announcement(env: Selection) -> str:
    """What is going to happen, in one sentence for the person who is asked."""
    name, volumes = env.environment.name, ", ".join(volume.name for volume in env.topology.volumes) or "none"
    if env.environment.backend == "existing":
        return (
            f"This forgets the way to the hosts of the environment {name}; the hosts and their data stay as they are."
        )
    fate = "AND ALL DATA on its volumes" if env.environment.disposable else "but not its volumes"
    return f"This removes all hosts of the environment {name} {fate} ({volumes})."


def _left(env: Selection) -> list[str]:
    """What stays on hosts that are their owner's, and how it is taken away by hand."""
    lines = [f"kept: the hosts and their data; the keys to them and the vault's are in {env.places.state}"]
    for node in env.topology.nodes:
        data = ", ".join(volume.mount for volume in node.volumes)
        runs = ", ".join(node.tiers) or "no tier"
        lines.append(
            f"kept: {node.name} ({node.address}): runs on, hardened, with {runs}{f'; data in {data}' if data else ''}"
        )
    lines.append(
        f"the account {AUTOMATION} stays on each of them; `jinku up` finds it again. To give the hosts back: docs/manual/existing-hosts"
    )
    return lines


def _forget(env: Selection) -> list[Path]:
    """Remove the way in and, where the data is gone too, the keys, the vault's shares and the state.

    :returns: what could not be removed, though it may hold a key.
    """
    places = env.places
    paths = [places.ssh_config]  # by this file the other verbs take the environment for up
    if env.environment.disposable and env.environment.backend == "lab":
        folders = [places.ssh, places.pki, places.vault, places.pulumi, places.lab, places.state / "crm"]
        paths += [*folders, places.state / "pulumi.passphrase", places.origin]
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)  # as much as goes; what stayed is told
        with suppress(OSError):
            path.unlink(missing_ok=True)
    return [path for path in paths if path.exists()]
