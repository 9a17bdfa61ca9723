# SPDX-License-Identifier: Apache-2.0
"""The lab's package mirror: a forward proxy on the controller's wan address that reaches the Debian archive and nothing else."""

from pathlib import Path

from . import names, sources
from .daemon import Daemon

PORT = 3142
ALLOWED = "JINKU_MIRROR_HOSTS"  # variable of the proxy process: host names it may fetch from, separated by commas
PLUGIN = "stacks.provider.lab.mirror_filter.AllowedHosts"
DAEMON = Daemon("mirror", "JINKU_MIRROR_ENV", PLUGIN, (PORT,))


def log_file(env: str) -> Path:
    """What the proxy says."""
    return names.lab_directory(env) / "mirror.log"


async def ensure(env: str, address: str) -> None:
    """Start the mirror on `address`, which must be the controller's own, unless it runs."""
    listening = ("--hostname", address, "--port", str(PORT), "--num-workers", "1", "--num-acceptors", "1")
    arguments = ("proxy", *listening, "--log-level", "WARNING", "--plugins", PLUGIN)
    allowed = ",".join(sorted(sources.controller_sources().hosts()))
    await DAEMON.ensure(env, address, arguments, log_file(env), {ALLOWED: allowed})
