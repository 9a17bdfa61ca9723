# SPDX-License-Identifier: Apache-2.0
"""Refuses to start what this machine cannot finish: before anything is touched, with every lack at once."""

import click

from jinku import doctor
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.selection import Selection
from jinku.evidence.catalogue import load_catalogue
from jinku.evidence.declared import DeclaredError, load_declared, of_nobody
from jinku.existing import findings as hosts
from jinku.model import Node, Topology
from jinku.model.environment import Tier
from jinku.model.profiles import NODES
from jinku.ssh_access import unknown

#: Their roles do not join nodes of one site into a cluster yet: each would come up as one of its own.
SINGLE: tuple[Tier, ...] = ("vault", "postgres")
#: Of these the other site may have one, too: it follows the first.
PAIRED: tuple[Tier, ...] = ("postgres",)


def several(topology: Topology) -> list[str]:
    """`<field>: <what is wrong>; <what would be right>` for each tier of which `up` could not yet join the nodes. Pure."""
    found = []
    profile = topology.env.profile
    for tier in SINGLE:
        sites = [(site,) for site in topology.sites] if tier in PAIRED else [topology.sites]
        for where in sites:
            names = [node.name for node in topology.nodes_of(tier) if node.site in where]
            if len(names) < 2:
                continue
            ours = [node for node in NODES[profile] if tier in node.tiers and node.site in where]
            field = "profile" if len(ours) > 1 else "nodes"
            wrong = f"has {len(names)} nodes of the tier {tier} ({', '.join(names)}), which `jinku up` cannot join yet"
            right = "small, which has one" if field == "profile" else "the profile's own alone"
            found.append(f"{field}: {wrong}; {right}")
    return found


def buildable(env: Selection) -> None:
    """Refuse what this version cannot bring up. :raises Failure: with exit code 2, in the form of a wrong environment.yaml."""
    if problems := several(env.topology):
        raise Failure("\n".join(f"{env.file}: {problem}" for problem in problems), ExitCode.USAGE)


def declared(env: Selection) -> None:
    """Refuse a controls.yaml that the check at the end could not read, and tell what in it is of nobody.

    :raises Failure: with exit code 2.
    """
    try:
        said = load_declared(env.folder, load_catalogue())
    except DeclaredError as error:
        raise Failure(str(error), ExitCode.USAGE) from None
    for line in of_nobody(said, env.topology):
        click.echo(f"{env.folder / 'controls.yaml'}: {line}", err=True)


def preflight(env: Selection, *, starts: bool = True) -> None:
    """Look at everything that `up` needs, and at hosts that exist and are not Jinku's yet.

    :param starts: False for `plan`, which starts no host: what only running hosts take of this machine may be lacking.
    :raises Failure: with exit code 5 and the remedies; with exit code 2 when controls.yaml or what it asks for is wrong.
    """
    buildable(env)
    declared(env)
    found = doctor.examine(env.topology, env.places, starts=starts)
    found += hosts.look(env.topology, env.places, env.folder, new_hosts(env))
    lacks = [finding for finding in found if finding.level is doctor.Level.MISSING]
    if lacks:
        raise Failure("\n".join(f"{lack.where}: {lack.text}; {lack.remedy}" for lack in lacks), ExitCode.PREREQUISITE)


def new_hosts(env: Selection) -> list[Node]:
    """Hosts that exist and that no `up` has taken in yet; [] for backends that make their hosts."""
    if env.environment.backend != "existing":
        return []
    names = unknown(env.topology, env.places)
    return [node for node in env.topology.nodes if node.name in names]
