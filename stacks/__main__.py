# SPDX-License-Identifier: Apache-2.0
"""The Pulumi program: one stack is one site of one environment (``lab-a``).

The stack's name says all, there is no Pulumi configuration. ``JINKU_ENV`` names the folder of an environment that lives
outside inventories/. Run by `pulumi` itself and, through the Automation API, by `jinku`.
"""

import os

import pulumi

from jinku.model import InputError, Topology, environment_file, load_environment
from jinku.origin import places_of
from stacks.backends import backend_of
from stacks.components import SiteComponent


def build(stack: str) -> None:
    """Declare the resources of a stack.

    :raises pulumi.RunError: the name is not ``<environment>-<site>``, or the environment cannot be used, or another has its name.
    """
    name, _, site = stack.rpartition("-")
    try:
        file = environment_file(os.environ.get("JINKU_ENV") or name)
        environment = load_environment(file)
        places = places_of(environment.name, file)
    except InputError as error:
        raise pulumi.RunError(str(error)) from None
    if environment.name != name:
        raise pulumi.RunError(f"stack {stack}: the environment is called {environment.name}; {environment.name}-{site}")
    if site not in environment.sites:
        stacks = ", ".join(f"{name}-{known}" for known in sorted(environment.sites))
        raise pulumi.RunError(f"stack {stack}: {name} has no site {site!r}; one of {stacks}")
    topology = Topology.of(environment)
    component = SiteComponent(topology, site, backend_of(topology, places))
    pulumi.export("nodes", component.nodes)


build(pulumi.get_stack())
