# SPDX-License-Identifier: Apache-2.0
"""Runs Pulumi on the sites of an environment and shows what it does; shared by plan, up and destroy."""

from jinku import engine, provision
from jinku.cli.progress import Progress
from jinku.cli.selection import Selection
from jinku.provision import SiteResult, Step, Verb

_DONE = {
    "create": "made",
    "update": "changed",
    "delete": "removed",
    "replace": "replaced",
    "create-replacement": "made anew",
    "delete-replaced": "removed the old",
}
_WOULD = {
    "create": "would make",
    "update": "would change",
    "delete": "would remove",
    "replace": "would replace",
    "create-replacement": "would make anew",
    "delete-replaced": "would remove the old",
}


def run(verb: Verb, env: Selection, progress: Progress) -> list[SiteResult]:
    """Run a verb on all sites side by side, with a line for each change and for each site.

    :returns: the results; failed sites are told of and are for the caller to judge.
    :raises jinku.engine.EngineError: there is no Pulumi engine and none can be built.
    """
    words = _WOULD if verb == "preview" else _DONE

    def show(step: Step) -> None:
        text = f"site {step.site}: {words.get(step.change, step.change)} {step.resource}"
        if step.seconds is None:
            progress.begin(text)
        else:
            note = f"({', '.join(step.because)})" if step.because else ""
            again = step.change == "replace" and verb != "preview"  # its two halves have lines of their own
            cached = (
                step.resource.startswith("image ") and "delete" in step.change
            )  # only forgotten; the cache keeps it
            progress.end(text, step.seconds, note, failed=step.failed, quiet=again or cached)

    program = engine.ensure(progress.line)
    results = provision.run(verb, env.places, env.folder, list(env.topology.sites), program, show)
    for result in results:
        count = f"{result.changed} {'changes' if verb != 'preview' else 'changes to make'}" if not result.error else ""
        progress.end(f"site {result.site}", result.seconds, count, failed=bool(result.error))
        if result.error:
            progress.line(result.error, "red")
    return results


def announce_replacements(results: list[SiteResult], env: Selection, progress: Progress) -> None:
    """Say which hosts would be made anew, and that their volumes stay."""
    for result in results:
        for step in result.steps:
            if step.change == "replace" and step.resource.startswith("host "):
                node = env.topology.node(step.resource.removeprefix("host "))
                kept = ", ".join(volume.name for volume in node.volumes)
                because = f" because of {', '.join(step.because)}" if step.because else ""
                progress.line(
                    f"host {node.name} would be replaced{because}; "
                    + (f"its volumes stay: {kept}" if kept else "it has no volumes")
                )
