# SPDX-License-Identifier: Apache-2.0
"""Every value that somebody may write by mistake, in every field of a file: what is said of it is in our words."""

import copy
import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jinku.model.error_wording import lines

Way = tuple[str | int, ...]

#: What somebody may write into any field: each kind of value that YAML knows, too small, too large, and nearly right.
WRONG: list[Any] = [
    *(
        None,
        True,
        5,
        -5,
        10**30,
        3.5,
        float("nan"),
        float("inf"),
        dt.date(2026, 5, 1),
        dt.datetime(2026, 5, 1, tzinfo=dt.UTC),
    ),
    *("", "x", "A" * 300, "5", "a\nb", "\ud800", "10.20.0.1/24", "fd20::1/64", "10.20.0.1", "10.0.0.0/33", b"\xff"),
    *([], ["x"], [5], [None], {}, {"x": 1}, {5: 1}, {None: 1}, {True: {}}, {"a\nb": {}}, {"[key]": 1}, {"x", "y"}),
]


def _whole(value: Any) -> Any:
    """A section with the defaults of all its fields."""
    if isinstance(value, BaseModel):
        return {key: _whole(getattr(value, key)) for key in type(value).model_fields}
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_whole(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _paths(value: Any, path: Way = ()) -> Iterator[Way]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*path, key)
        yield from _paths(value[key], (*path, key))


def _put(value: Any, path: Way, wrong: Any) -> Any:
    """A copy of a value with something else at a path."""
    if not path:
        return wrong
    other = copy.copy(value)
    other[path[0]] = _put(value[path[0]], path[1:], wrong)
    return other


def schemas(model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    """Every schema within the schema of a model."""

    def within(schema: Any) -> Iterator[dict[str, Any]]:
        if isinstance(schema, list | dict):
            yield from [schema] if isinstance(schema, dict) else []
            for one in schema.values() if isinstance(schema, dict) else schema:
                yield from within(one)

    yield from within(model.model_json_schema())


def _errors(model: type[BaseModel], example: dict[str, Any]) -> Iterator[ErrorDetails]:
    """What pydantic says of every wrong value in every field."""
    whole = _whole(model.model_validate(example))
    paths = list(_paths(whole))
    known = {key for one in schemas(model) for key in one.get("properties", {})}
    assert known <= {part for path in paths for part in path}, "a section is missing in the example"
    for path in paths:
        for wrong in WRONG:
            try:
                model.model_validate(_put(whole, path, wrong))
            except ValidationError as error:
                yield from error.errors()


def every_wrong_value_is_told_in_our_words(model: type[BaseModel], example: dict[str, Any]) -> None:
    """Assert it. ``example``: a file with every section and key in it."""
    for error in _errors(model, example):
        (line,) = lines([error], model)
        field, _, said = line.partition(": ")
        wrong, _, right = said.partition("; ")
        assert field, error
        assert wrong, error
        assert right, error
        assert line.isprintable(), error
        assert error["type"] == "value_error" or error["msg"].lower() not in line.lower(), line
        assert "Input should" not in line, line
        assert not re.search(r"such as (None|True|False)\b", right), line
        assert error.get("ctx", {}).get("pattern", "no pattern") not in line, line
        assert not re.search(r"IPv[46](Network|Address)|lax-or-strict", field), line
