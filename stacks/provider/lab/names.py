# SPDX-License-Identifier: Apache-2.0
"""How everything the lab makes is called, so that it is found again by name. Pure, apart from reading two variables.

A dot ends the environment's name, which cannot hold one: so `jinku-lab.` never finds what belongs to `lab-2`.
"""

import re
from pathlib import Path

from jinku.places import Places


def prefix(env: str) -> str:
    """What the name of every namespace and cgroup of an environment begins with."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", env):
        raise ValueError(f"env: {env!r} is no name of an environment; small letters, digits and hyphens, 32 at most")
    return f"jinku-{env}."


def host(env: str, site: str, name: str) -> str:
    """Network namespace, cgroup and nspawn machine of a host."""
    return f"{prefix(env)}{site}.{name}"


def router(env: str, site: str) -> str:
    """Network namespace of a site's router. Upper case cannot clash with a node."""
    return f"{prefix(env)}{site}.ROUTER"


def switch(env: str, site: str) -> str:
    """Network namespace that holds the bridges of a site: apart, so that no packet filter sees traffic within a zone."""
    return f"{prefix(env)}{site}.SWITCH"


def outside(env: str) -> str:
    """Network namespace that holds the two bridges all sites share, `wan` and `link`."""
    return f"{prefix(env)}OUTSIDE"


def probe(env: str, name: str) -> str:
    """Network namespace of a stranger on the wan, such as `internet`."""
    return f"{prefix(env)}PROBE.{name}"


def lab_directory(env: str) -> Path:
    """Folder of the lab's files of an environment."""
    prefix(env)
    return Places(env).lab
