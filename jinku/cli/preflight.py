# SPDX-License-Identifier: Apache-2.0
"""Refuses to start what this machine cannot finish: before anything is touched, with every lack at once."""

from jinku import doctor
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.selection import Selection


def preflight(env: Selection) -> None:
    """Look at everything that `up` needs. :raises Failure: with exit code 5 and the remedies."""
    lacks = [finding for finding in doctor.examine(env.topology, env.places) if finding.level is doctor.Level.MISSING]
    if lacks:
        raise Failure("\n".join(f"{lack.what}: {lack.text}; {lack.remedy}" for lack in lacks), ExitCode.PREREQUISITE)
