# SPDX-License-Identifier: Apache-2.0
"""Speaks Pulumi's provider protocol for the kinds of resource in `kinds`."""

import json
import sys
from importlib.metadata import version

from pulumi.provider.experimental import provider as protocol
from pulumi.provider.experimental.property_value import Computed, PropertyValue
from pulumi.provider.experimental.server import main as serve_provider

from .kinds import Kind, Values, kind_of
from .orphan import end_with_parent
from .progress import Progress
from .values import defaults_of, plain_map, problems, unknown, wrapped_map


class LabProvider(protocol.Provider):
    """Answers the engine. Nothing in it blocks: everything the lab does is a subprocess or a thread."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    async def get_schema(self, request: protocol.GetSchemaRequest) -> protocol.GetSchemaResponse:  # noqa: ARG002
        """No schema: the classes in stacks/ name the tokens themselves."""
        return protocol.GetSchemaResponse(json.dumps({"name": "jinku", "version": version("jinku")}))

    async def check(self, request: protocol.CheckRequest) -> protocol.CheckResponse:
        """Refuse wrong inputs before anything is touched."""
        kind, inputs = kind_of(request.type), plain_map(request.new_inputs)
        known = {key: value for key, value in inputs.items() if key not in kind.outputs}
        found = problems(kind.inputs, known) or kind.problems(known)
        failures = [protocol.CheckFailure(field, reason) for field, reason in found]
        return protocol.CheckResponse({key: request.new_inputs[key] for key in known}, failures)

    async def diff(self, request: protocol.DiffRequest) -> protocol.DiffResponse:
        """Say what changed, and whether it can be changed in place."""
        kind, state, inputs = kind_of(request.type), plain_map(request.old_state), plain_map(request.new_inputs)
        return difference(kind, state, inputs, frozenset(request.ignore_changes))

    async def create(self, request: protocol.CreateRequest) -> protocol.CreateResponse:
        """Make a resource; a preview only foresees its outputs."""
        kind, inputs = kind_of(request.type), plain_map(request.properties)
        if request.preview:
            return protocol.CreateResponse("", preview(kind, inputs))
        async with self.progress.step(request.urn, "made"):
            outputs = await kind.create(inputs)
        return protocol.CreateResponse(kind.identifier(inputs), wrapped_map({**inputs, **outputs}))

    async def read(self, request: protocol.ReadRequest) -> protocol.ReadResponse:
        """Tell what is really there; an empty answer if it is gone. There is no import: without a state nothing is known."""
        kind = kind_of(request.type)
        state = {**plain_map(request.inputs), **plain_map(request.properties)}
        seen = await kind.read(state) if state else None
        if seen is None:
            return protocol.ReadResponse()
        inputs = {key: value for key, value in seen.items() if key not in kind.outputs}
        return protocol.ReadResponse(request.resource_id, wrapped_map(seen), wrapped_map(inputs))

    async def update(self, request: protocol.UpdateRequest) -> protocol.UpdateResponse:
        """Change or mend a resource in place."""
        kind, inputs = kind_of(request.type), plain_map(request.news)
        if request.preview:
            return protocol.UpdateResponse(preview(kind, inputs))
        async with self.progress.step(request.urn, "mended"):
            outputs = await kind.update(inputs)
        return protocol.UpdateResponse(wrapped_map({**inputs, **outputs}))

    async def delete(self, request: protocol.DeleteRequest) -> None:
        """Remove a resource."""
        kind = kind_of(request.type)
        async with self.progress.step(request.urn, "removed"):
            await kind.delete(plain_map(request.properties))


def difference(kind: Kind, state: Values, inputs: Values, ignored: frozenset[str]) -> protocol.DiffResponse:
    """Compare a resource's state with wanted inputs; what either side lacks has its default, and an empty value is no value."""
    defaults = defaults_of(kind.inputs)
    state, inputs = {**defaults, **state}, {**defaults, **inputs}
    keys = sorted((set(inputs) | set(state)) - set(kind.outputs) - ignored)
    changed = [key for key in keys if (state.get(key) or "") != (inputs.get(key) or "")]
    replaces = [key for key in changed if key not in kind.mutable]
    if (
        not changed
        and not unknown(inputs)
        and "digest" in kind.outputs
        and state.get("digest") != kind.identifier(inputs)
    ):
        changed, replaces = ["parts"], ["parts"]
    mended = kind.drifted(state)
    detail = {
        key: protocol.PropertyDiff(protocol.PropertyDiffKind.UPDATE, key not in mended) for key in [*changed, *mended]
    }
    for key in replaces:
        detail[key] = protocol.PropertyDiff(protocol.PropertyDiffKind.UPDATE_REPLACE, True)
    return protocol.DiffResponse(
        changes=bool(detail),
        replaces=replaces,
        diffs=list(detail),
        detailed_diff=detail,
        delete_before_replace=kind.delete_first,
    )


def preview(kind: Kind, inputs: Values) -> dict[str, PropertyValue]:
    """Properties of a resource that is not made: its inputs, and outputs as far as they are foreseen."""
    foreseen = {} if unknown(inputs) else kind.foreseen(inputs)
    return wrapped_map({**inputs, **{key: foreseen.get(key, Computed()) for key in kind.outputs}})


def serve() -> None:
    """Run the provider until the engine ends it."""
    end_with_parent()
    engine = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    serve_provider(sys.argv[1:], version("jinku"), LabProvider(Progress(engine)))
