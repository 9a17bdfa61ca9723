# SPDX-License-Identifier: Apache-2.0
"""What promote and rejoin share: the question, the lock, the journal, and the words of a refusal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from jinku import journal
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.progress import Progress
from jinku.cli.selection import Selection
from jinku.replication import RefusedError, Tell
from jinku.ssh_access import is_up


@contextmanager
def changed(
    verb: str, env: Selection, site: str, what: str, *, yes: bool, about: dict[str, Any] | None = None
) -> Iterator[Tell]:
    """Ask, hold the environment, and note in the journal what came of the block; ``what``: one sentence for the question.

    :param about: what the journal says beside the site.
    :raises Failure: no such site, not up, not confirmed, or refused by the block.
    """
    sites = sorted({node.site for node in env.topology.nodes_of("postgres")})
    if site not in sites:
        remedy = f"one of {', '.join(sites)}"
        raise Failure(f"{env.environment.name}: SITE: {site!r} has no database; {remedy}", ExitCode.USAGE)
    if not is_up(env.places):
        raise Failure(f"{env.environment.name}: is not up; `jinku up` makes it", ExitCode.PREREQUISITE)
    if not yes:
        click.echo(f"{what}\nType the environment's name to go on: ", nl=False)
        if sys.stdin.readline().strip() != env.environment.name:
            raise Failure("not confirmed; nothing was touched; --yes does not ask", ExitCode.USAGE)
    begun, error = time.monotonic(), ""
    with env.hold(verb), Progress() as progress:
        try:
            yield progress.line
        except RefusedError as refused:
            error = str(refused)
            raise Failure(error) from None
        except KeyboardInterrupt:
            error = "interrupted"
            raise
        except BaseException as other:
            error = f"{type(other).__name__}: {other}"
            raise
        finally:
            seconds = round(time.monotonic() - begun, 1)
            journal.write(
                env.places,
                verb,
                env.file,
                {"site": site, **(about or {}), "ok": not error, "seconds": seconds, "error": error},
            )
