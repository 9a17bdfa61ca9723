# SPDX-License-Identifier: Apache-2.0
"""What pydantic refuses, in words that a person can follow: `<field>: <what is wrong>; <what would be right>`. Pure.

What would be right follows from the field and not from the kind of error, so a field has one remedy, whatever was written into it. It is
read from the JSON Schema of the file's model; for text, from the forms in :mod:`jinku.model.fields`, or the field's own examples.
"""

import difflib
import re
from collections.abc import Iterable
from functools import cache
from ipaddress import ip_interface
from typing import Any, NamedTuple

import yaml
from pydantic import TypeAdapter
from pydantic_core import ErrorDetails

from jinku.model.fields import FORMS

Schema = dict[str, Any]

#: Formats of the JSON Schema: what it is, and one.
_FORMATS = {
    "ipv4": ("an IPv4 address", "10.20.0.5"),
    "ipv6": ("an IPv6 address", "fd20:a::5"),
    "ipv4network": ("an IPv4 network", "10.20.0.0/24"),
    "ipv6network": ("an IPv6 network", "fd20:a::/56"),
    "date": ("a date", "2026-01-31"),
}
_SHOWN = 60  # characters of what was written


class _Place(NamedTuple):
    """What an error speaks of: ``field`` as a person finds it, ``schema`` of the value there, or of the key where ``is_key``.

    ``parent``: schema of what it stands in. ``optional``: it may be left out.
    """

    field: str
    schema: Schema
    parent: Schema
    optional: bool = False
    is_key: bool = False


def lines(errors: Iterable[ErrorDetails], of: Any) -> list[str]:
    """Errors as lines ``<field>: <what is wrong>; <what would be right>``, each told once.

    A value that fits neither half of a union, such as an address of either version, has an error for each: they become one line.

    :param of: what was validated against: a model, or a type such as ``dict[str, Model]``.
    """
    told = []
    for error in errors:
        place = _place(error, _schema(of))
        told.append(f"{place.field}: {_said(place, error)}")
    return list(dict.fromkeys(told))


def _place(error: ErrorDetails, schema: Schema) -> _Place:
    """Where an error is, by the way that its `loc` takes through the schema."""
    place = _Place("", schema, {})
    names: list[str] = []
    keys: Schema = {}
    for part in error["loc"]:
        if part == "[key]" and keys and error["type"] != "extra_forbidden":
            place = _Place("", keys, place.parent, is_key=True)
            continue
        inside = _alternatives(place.schema)
        if len(inside) > 1:  # no key: pydantic names the half of the union that it tried
            continue
        here, keys = inside[0], {}
        names.append(_name(part))
        if "properties" in here:
            known = here["properties"].get(part, {})
            place = _Place("", known, here, optional=part not in here.get("required", []))
        elif here.get("type") == "array":
            place = _Place("", here["items"], here)
        else:
            keys, value = _keys_and_values(here)
            place = _Place("", value, here, optional=True)
    if place.is_key or error["type"] == "invalid_key":
        names[-1] = _name(error["input"])  # `loc` has 0 for a key that is false
    return place._replace(field=".".join(names) or "(file)")


def _name(key: Any) -> str:
    """A key, or the number of an entry, as a part of a field's name."""
    return key[:_SHOWN] if isinstance(key, str) and key.isprintable() else _shown(key)


def _said(place: _Place, error: ErrorDetails) -> str:
    """``<what is wrong>; <what would be right>``."""
    value, context = error.get("input"), error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(str(error["loc"][-1]), place.parent["properties"], 1)
            said = f"unknown key; {f'did you mean {near[0]!r}?' if near else _keys_here(place.parent)}"
        case "invalid_key":
            said = f"the key {_shown(value)} is no text; {_keys_here(place.parent)}"
        case "missing":
            said = f"is missing; {_description(place.schema) or _right(place.schema)}"
        case "value_error":
            said = error["msg"].removeprefix("Value error, ")
        case "too_short":
            said = f"has {context['actual_length']}; at least {context['min_length']}"
        case "too_long":
            said = f"has {len(value or ())}; at most {context['max_length']}"
        case _ if place.is_key:
            said = f"the key {_shown(value)} cannot stand here; {_right(place.schema)}"
        case _ if value is None:
            said = f"is empty; {_right(place.schema)}{', or leave the key out' if place.optional else ''}"
        case _:
            wrong, right = _mistaken(value, _alternatives(place.schema))
            said = f"is {_shown(value)}{wrong}; {right}"
    return said


def _mistaken(value: Any, schemas: list[Schema]) -> tuple[str, str]:
    """What is to be said of a wrong value, '' where it is plain to see; and what would be right, or the very thing that was meant."""
    schema, right, wrong = schemas[0], _right({"anyOf": schemas}), ""
    kind = schema.get("type")
    if isinstance(value, str):
        if schema.get("format", "").startswith("ip"):
            return _mistaken_address(value, {one["format"] for one in schemas}) or (wrong, right)
        if kind in {"integer", "number"} and re.fullmatch(r"-?[0-9.]+", value):
            wrong, right = ", which is text", f"{right}, without quotes"
        elif len(value) > schema.get("maxLength", len(value)):
            wrong = f" ({len(value)} characters)"
    elif kind == "string" and not _choices(schema) and (read := _read_as(value)):
        wrong = f", which YAML takes for {read}"
        right = "the same in quotes" if _fits(str(value), schema) else right
    return wrong, right


def _read_as(value: Any) -> str:
    """What YAML takes text without quotes for; "" where it is something else."""
    if isinstance(value, bool | int | float):
        return "true or false" if isinstance(value, bool) else "a number"
    if hasattr(value, "isoformat"):
        return "a date with a time" if hasattr(value, "hour") else "a date"
    return ""


def _fits(text: str, schema: Schema) -> bool:
    """Whether a text has the form that a field wants."""
    long_enough = schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text))
    return long_enough and "pattern" in schema and re.search(schema["pattern"], text) is not None


def _mistaken_address(text: str, formats: set[str]) -> tuple[str, str] | None:
    """As :func:`_mistaken`, of text where an address or a network is wanted; None where it is neither."""
    try:
        interface = ip_interface(text)
    except ValueError:
        return None
    version, network = f"ipv{interface.version}", interface.network
    if f"{version}network" in formats:
        return ", an address in a network", f"{network}, the network itself"
    if version not in formats:
        return f", which is IPv{interface.version}", _right_address(formats)
    if interface.ip == network.network_address:
        return ", which is a network", _right_address(formats)
    return ", an address with the size of its network", f"{interface.ip}"


def _shown(value: Any) -> str:
    """What was written, as far as it fits into a line. A secret that went astray is not repeated."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    text = repr(value) if isinstance(value, str | bytes | list | tuple | dict | set) else str(value)
    if "PRIVATE KEY" in text:
        return "a private key"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _right(schema: Schema) -> str:
    """What would be right in a field."""
    schemas = _alternatives(schema)
    if all(one.get("format") in _FORMATS for one in schemas):
        return _right_address({one["format"] for one in schemas})
    return " or ".join(_right_one(one) for one in schemas)


def _right_address(formats: set[str]) -> str:
    kinds, examples = zip(*(_FORMATS[one] for one in sorted(formats)), strict=True)
    kind = kinds[0] if len(kinds) == 1 else kinds[0].replace("IPv4", "IPv4 or IPv6")
    return f"{kind}, such as {' or '.join(examples)}"


def _right_one(schema: Schema) -> str:
    if choices := _choices(schema):
        return " or ".join(filter(None, (", ".join(map(repr, choices[:-1])), repr(choices[-1]))))
    if schema.get("pattern") in FORMS:
        return str(FORMS[schema["pattern"]])
    match schema.get("type"):
        case "boolean":
            right = "true or false"
        case "integer":
            right = f"a whole number from {schema['minimum']} to {schema['maximum']}"
        case "number":
            right = f"a number above {schema['exclusiveMinimum']} and at most {schema['maximum']}"
        case "array":
            right = f"a list, such as {_flow(_example(schema))}"
        case "object" if "properties" in schema:
            right = f"a mapping with keys such as {', '.join(schema['properties'])}"
        case "object":
            right = f"a mapping, such as {_flow(_example(schema))}"
        case _:
            limits = [f"at least {schema['minLength']}"] if schema.get("minLength", 0) > 1 else []
            limits += [f"at most {schema['maxLength']}"] if "maxLength" in schema else []
            sized = f" of {' and '.join(limits)} characters" if limits else ""
            right = f"text{sized}, such as {_example(schema)!r}"
    return right


def _keys_here(schema: Schema) -> str:
    return f"the keys here are {', '.join(schema['properties'])}"


def _flow(value: Any) -> str:
    """A value as one may write it into a line of YAML."""
    return str(yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))).strip()


def _example(schema: Schema) -> Any:
    """A small value that a field takes: of a section, the keys that it must have."""
    schema = _alternatives(schema)[0]
    if choices := _choices(schema):
        return choices[0]
    if schema.get("pattern") in FORMS:
        return FORMS[schema["pattern"]].example
    match schema.get("type"):
        case "array":
            example: Any = [_example(schema["items"])]
        case "object" if "properties" in schema:
            example = {key: _example(schema["properties"][key]) for key in schema.get("required", [])}
        case "object":
            keys, value = _keys_and_values(schema)
            example = {_example(keys): _example(value)}
        case "integer":
            example = schema["minimum"]
        case "string" if "format" in schema:
            example = _FORMATS[schema["format"]][1]
        case _:
            example = [*schema.get("examples", []), schema.get("default")][0]
    return example


def _choices(schema: Schema) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", []))


def _keys_and_values(schema: Schema) -> tuple[Schema, Schema]:
    """Of a mapping whose keys its owner chooses: the schema of a key and that of a value."""
    for pattern, value in schema.get("patternProperties", {}).items():
        return {"type": "string", "pattern": pattern}, value
    return schema.get("propertyNames", {}), schema.get("additionalProperties") or {}


def _alternatives(schema: Schema) -> list[Schema]:
    """The schemas of a field, more than one where it is a union. Leaving it empty is not counted."""
    if "anyOf" not in schema:
        return [schema]
    return [_alternatives(one)[0] for one in schema["anyOf"] if one.get("type") != "null"]


def _description(schema: Schema) -> str:
    described = schema if "description" in schema else _alternatives(schema)[0]
    text = str(described.get("description", ""))
    return text if text.endswith("...") else text.removesuffix(".")


@cache
def _schema(of: Any) -> Schema:
    """The JSON Schema of a model or a type, every definition in the places that name it; what a place says of its own goes first."""
    whole = TypeAdapter(of).json_schema()

    def inlined(part: Any) -> Any:
        if isinstance(part, list):
            return [inlined(one) for one in part]
        if not isinstance(part, dict):
            return part
        named = whole["$defs"][part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else {}
        return {key: inlined(value) for key, value in {**named, **part}.items() if key not in {"$ref", "$defs"}}

    return dict(inlined(whole))
