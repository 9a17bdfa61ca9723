# SPDX-License-Identifier: Apache-2.0
"""Between Pulumi's property values and plain Python: no secret, no asset, nothing but what the lab's dataclasses hold."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pulumi.provider.experimental.property_value import Computed, PropertyValue
from pulumi.runtime.rpc import UNKNOWN
from pydantic import TypeAdapter, ValidationError


def plain(value: PropertyValue) -> Any:
    """Python value of a property; whole numbers become int, and what is not known yet becomes `Computed()`."""
    inner = value.value
    if inner is None or isinstance(inner, bool | str | Computed):
        return inner
    if isinstance(inner, float):
        return int(inner) if inner.is_integer() else inner
    if isinstance(inner, Mapping):
        return plain_map(inner)
    if isinstance(inner, Sequence):
        return [plain(item) for item in inner if isinstance(item, PropertyValue)]
    raise TypeError(
        f"a property of the lab cannot be {type(inner).__name__}; text, numbers, lists and maps would be right"
    )


def plain_map(values: Mapping[str, PropertyValue]) -> dict[str, Any]:
    """The same for a map; keys without a value are left out."""
    return {key: plain(value) for key, value in values.items() if value.value is not None and not key.startswith("__")}


def wrapped(value: Any) -> PropertyValue:
    """Property value of a Python value."""
    if isinstance(value, Mapping):
        return PropertyValue(wrapped_map(value))
    if isinstance(value, list | tuple):
        return PropertyValue([wrapped(item) for item in value])
    if isinstance(value, Computed):
        return PropertyValue(UNKNOWN)  # the SDK reads the engine's mark for it, but cannot write it
    if isinstance(value, int) and not isinstance(value, bool):
        return PropertyValue(float(value))
    return PropertyValue(value)


def wrapped_map(values: Mapping[str, Any]) -> dict[str, PropertyValue]:
    """The same for a map."""
    return {key: wrapped(value) for key, value in values.items()}


def unknown(value: Any) -> bool:
    """True if a value, or something in it, is only known after another resource is made."""
    if isinstance(value, Mapping):
        return any(unknown(item) for item in value.values())
    return isinstance(value, Computed) or (isinstance(value, list) and any(unknown(item) for item in value))


def problems(kind: type, inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(field, what is wrong) of inputs that are to become a dataclass. What is not known yet is not judged."""
    fields = {field.name for field in dataclasses.fields(kind)}
    found = [
        (key, "no such input; one of " + ", ".join(sorted(fields)) + " would be right")
        for key in sorted(set(inputs) - fields)
    ]
    try:
        TypeAdapter(kind).validate_python(dict(inputs))
    except ValidationError as failure:
        for error in failure.errors(include_url=False):
            top = str(error["loc"][0]) if error["loc"] else ""
            if not unknown(inputs.get(top)):
                found.append((".".join(map(str, error["loc"])), error["msg"]))
    return found


def parsed(kind: type, inputs: Mapping[str, Any]) -> Any:
    """The dataclass of inputs; other keys, such as outputs, are left out. Raises pydantic's ValidationError."""
    fields = {field.name for field in dataclasses.fields(kind)}
    return TypeAdapter(kind).validate_python({key: value for key, value in inputs.items() if key in fields})


def defaults_of(kind: type) -> dict[str, Any]:
    """Values that a dataclass's fields have when no input sets them, as Pulumi has them."""
    fields = dataclasses.fields(kind)
    return {field.name: lists(field.default) for field in fields if field.default is not dataclasses.MISSING}


def told(value: Any) -> dict[str, Any]:
    """Inputs of a dataclass, with lists instead of tuples."""
    return {key: lists(item) for key, item in dataclasses.asdict(value).items()}


def lists(value: Any) -> Any:
    """A value with every tuple in it a list, as Pulumi has it."""
    if isinstance(value, Mapping):
        return {key: lists(item) for key, item in value.items()}
    return [lists(item) for item in value] if isinstance(value, list | tuple) else value
