# SPDX-License-Identifier: Apache-2.0
"""Reading environment.yaml: every problem at once, each with the file, the field and the remedy."""

import copy
from pathlib import Path
from typing import Any

import yaml
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import ValidationError
from pydantic_core import ErrorDetails

import jinku
from jinku.model.environment import SCHEMA_VERSION, Environment
from jinku.model.error_wording import lines
from jinku.model.invariants import problems as topology_problems
from jinku.model.topology import HOSTS
from jinku.places import CHECKOUT

INVENTORIES = CHECKOUT / "inventories"


class InputError(ValueError):
    """The operator's input cannot be used. ``problems``: lines ``<file>: <field>: <wrong>; <right>``."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _NoValueError(yaml.constructor.ConstructorError):
    """Text that YAML 1.1 takes for a value of a kind, such as a date, and that is none."""


class _UniqueLoader(yaml.SafeLoader):
    """A safe loader that refuses a key written twice, which YAML 1.1 parsers otherwise drop silently."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As the parent; what Python cannot make (the 31st of June, a list as a key) is told with its place."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, OverflowError, KeyError, AttributeError) as error:
            shown = (
                f"{str(node.value)[:40]!r} cannot be read" if isinstance(node, yaml.ScalarNode) else "cannot be read"
            )
            raise _NoValueError(None, None, f"{shown} ({error})", node.start_mark) from error


def _unique_mapping(loader: _UniqueLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor` is no key of its own
            continue
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is written twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def environment_file(env: str) -> Path:
    """Find environment.yaml.

    :param env: the name of a folder under inventories/, or the path of a folder or file anywhere.
    :returns: path of the file (which exists).
    :raises InputError: there is no such environment; the message lists those that there are.
    """
    given = Path(env)
    candidates = [given, given / "environment.yaml"] if "/" in env or given.suffix else []
    candidates.append(INVENTORIES / env / "environment.yaml")
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    known = ", ".join(sorted(path.parent.name for path in INVENTORIES.glob("*/environment.yaml")))
    raise InputError(
        [f"{env}: --env: no environment.yaml there; one of {known}, or the path of a folder that holds one"]
    )


def load_environment(path: Path | str) -> Environment:
    """Read and check an environment, its topology included.

    :param path: environment.yaml, the folder that holds it, or the name of a folder under inventories/.
    :returns: the checked environment.
    :raises InputError: with all problems found, before anything was touched.
    """
    file = environment_file(str(path))
    return read_environment(read_text(file), file)


def read_text(file: Path) -> str:
    """The text of a file that people write. :raises InputError: it is in another encoding than UTF-8."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError([f"{file}: (file): is not UTF-8 text; save it as UTF-8"]) from None


def read_environment(text: str, file: Path) -> Environment:
    """Check the text of an environment.yaml, as :func:`load_environment`. ``file``: its path, for the errors; it need not be there."""
    data = parse(text, file, "'name:' and 'sites:'")
    if isinstance(data.get("schema_version"), int) and data["schema_version"] > SCHEMA_VERSION:
        raise InputError(
            [
                (
                    f"{file}: schema_version: is {data['schema_version']}, newer than this Jinku ({jinku.__version__}) knows; "
                    f"{SCHEMA_VERSION}, or a newer Jinku"
                )
            ]
        )
    try:
        environment = Environment.model_validate(data)
    except ValidationError as error:
        details = _own(error.errors())
        raise InputError(
            [f"{file}: {problem}" for problem in (*lines(details, Environment), *_beside(data, details))]
        ) from None
    problems = [*_version_problems(environment), *topology_problems(environment)]
    if problems:
        raise InputError([f"{file}: {problem}" for problem in problems])
    return environment


def parse(text: str, file: Path, keys: str, *, may_be_empty: bool = False) -> dict[str, Any]:
    """The mapping that a file's text is.

    :param keys: such as stand at its top, for the message where it is none.
    :param may_be_empty: nothing but comments is an empty mapping.
    :raises InputError: it is no mapping, no YAML 1.1, has a key twice, or a value that does not exist, such as 2026-06-31.
    """
    try:
        data = yaml.load(text, Loader=_UniqueLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "(file)"
        right = "a value that exists, or text in quotes" if isinstance(error, _NoValueError) else "valid YAML 1.1"
        raise InputError([f"{file}: {where}: {getattr(error, 'problem', None) or 'not YAML'}; {right}"]) from None
    if data is None and may_be_empty:
        return {}
    if not isinstance(data, dict):
        raise InputError([f"{file}: (file): is not a mapping; keys such as {keys}"])
    return data


#: What stands in for a section that must be there and is malformed; rules that would read it are not asked.
_STAND_INS: dict[str, Any] = {
    "schema_version": SCHEMA_VERSION,
    "name": "standin",
    "profile": "small",
    "backend": "lab",
    "domain": "stand-in.internal",
    "sites": {"a": {"network": "192.0.2.0/24"}},
    "operators": [{"name": "stand-in", "duty": "system"}] * 3,
}
#: The same for a field of a flow, while the flow's other fields are looked at.
_STAND_INS_OF_FLOWS = {"source": HOSTS, "destination": HOSTS, "port": 1, "protocol": "tcp", "en": "...", "zh": "..."}
_SAYS_WHY = {"en", "zh"}


def _beside(data: dict[str, Any], details: list[ErrorDetails]) -> list[str]:
    """What else is wrong beside malformed sections and fields of flows, so that nobody is told one fault at a time.

    Rules that need a malformed section are left out: they would speak of what nobody wrote.
    """
    malformed: set[str] = set()
    wrong: set[str] = set()
    flows: Any = copy.deepcopy(data.get("flows", ()))
    for detail in details:
        match detail["loc"]:
            case ("flows", int(index), str(field)) if detail["type"] != "invalid_key":
                flows[index].pop(field, None)
                flows[index] |= {field: _STAND_INS_OF_FLOWS[field]} if field in _STAND_INS_OF_FLOWS else {}
                wrong |= {field} & _STAND_INS_OF_FLOWS.keys()
            case (section, *_):
                malformed.add(str(section))
    whole = Environment.model_fields.keys() - malformed
    environment = Environment.model_validate(
        {key: value for key, value in {**data, "flows": flows}.items() if key in whole}
        | {key: value for key, value in _STAND_INS.items() if key in malformed}
    )
    return [
        *(_version_problems(environment) if "jinku" not in malformed else []),
        *topology_problems(environment, unknown=malformed, ends_known=wrong <= _SAYS_WHY),
    ]


def _version_problems(environment: Environment) -> list[str]:
    try:
        accepted = SpecifierSet(environment.jinku)
    except InvalidSpecifier:
        return [f"jinku: {environment.jinku!r} is not a version range; such as '>=0.1,<0.2'"]
    if not accepted.contains(jinku.__version__, prereleases=True):
        return [
            f"jinku: this is Jinku {jinku.__version__}, the environment accepts {environment.jinku}; another Jinku, or a wider range after reading CHANGELOG.md"
        ]
    return []


def _own(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """The errors without those that only follow: a list seems too short where one of its entries is wrong."""

    def follows(detail: ErrorDetails) -> bool:
        length = len(detail["loc"])
        return detail["type"] == "too_short" and any(
            len(other["loc"]) > length and other["loc"][:length] == detail["loc"] for other in details
        )

    return [detail for detail in details if not follows(detail)]
