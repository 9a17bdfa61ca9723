#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes those pages of the docs site that the program itself knows: keys of environment.yaml, verbs, flows, coverage.

They are written at every build (docs/conf.py), so they cannot be out of date, and lie outside version control.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

import click  # noqa: E402 - after the checkout's own path

from jinku.cli import VERBS, cli  # noqa: E402
from jinku.evidence.catalogue import load_catalogue  # noqa: E402
from jinku.model import Topology, load_environment  # noqa: E402
from jinku.model.environment import Environment  # noqa: E402

WORDS = {
    "environment": {"en": "environment.yaml", "zh": "environment.yaml 的各项"},
    "verbs": {"en": "Commands", "zh": "命令"},
    "flows": {"en": "Allowed flows", "zh": "允许的访问流"},
    "coverage": {"en": "Which items are tested", "zh": "已有测试的要求项"},
}
INTRODUCTION = {
    "environment": {
        "en": "All keys, from the schema that the program checks by. What has no default must be written.",
        "zh": "以下内容由程序所用的模式（schema）生成，说明文字为英文。没有默认值的项必须填写。",
    },
    "verbs": {"en": "What `--help` prints.", "zh": "即各命令 `--help` 的输出（英文）。"},
    "flows": {
        "en": "Of the environment `lab`; `jinku flows` prints those of yours. Whatever is not in the list is refused.",
        "zh": "以 `lab` 环境为例；您自己的环境用 `jinku flows` 查看。未列出的访问一律拒绝。",
    },
    "coverage": {
        "en": "Items of the catalogue that at least one control test looks at. Whether an item conforms is said by the "
        "report of your own environment, never by this list.",
        "zh": "至少有一项测试检查的要求项。是否符合以您自己环境的自查报告为准，本表不作结论。",
    },
}


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _table(*rows: tuple[object, ...]) -> str:
    head, *body = rows
    lines = [head, tuple("---" for _ in head), *body]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def _kind(schema: dict[str, Any]) -> str:  # noqa: PLR0911 - one return a kind
    """A schema's type in a reader's words."""
    if "$ref" in schema:
        return f"see {schema['$ref'].rpartition('/')[2]}"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"] if one.get("type") != "null"))
    if schema.get("type") == "array":
        return f"list of: {_kind(schema.get('items', {}))}"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"mapping; values: {_kind(values)}" if isinstance(values, dict) else "mapping"
    return str(schema.get("format", schema.get("type", "any")))


def _environment(language: str) -> str:
    schema = Environment.model_json_schema()
    head = {"en": ("key", "value", "default", "what it is"), "zh": ("键", "取值", "默认值", "说明")}[language]
    parts = []
    for title, section in [("environment.yaml", schema), *sorted(schema.get("$defs", {}).items())]:
        rows: list[tuple[object, ...]] = [head]
        for name, field in section.get("properties", {}).items():
            default = f"`{field['default']}`" if "default" in field else ""
            rows.append((f"`{name}`", _kind(field), default, field.get("description", "")))
        parts.append(f"## {title}\n\n{_cell(section.get('description', ''))}\n\n{_table(*rows)}")
    return "\n".join(parts)


def _verbs(language: str) -> str:
    del language  # `--help` speaks English
    context = click.Context(cli, info_name="jinku")
    parts = []
    for verb in VERBS:
        command = cli.get_command(context, verb)
        assert command is not None  # noqa: S101 - VERBS lists what there is
        above = click.Context(command, info_name=verb, parent=context, terminal_width=100)
        parts.append(f"## jinku {verb}\n\n```text\n{command.get_help(above)}\n```\n")
        for name, part in command.commands.items() if isinstance(command, click.Group) else ():
            text = part.get_help(click.Context(part, info_name=name, parent=above, terminal_width=100))
            parts.append(f"### jinku {verb} {name}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _flows(language: str) -> str:
    head = {
        "en": ("id", "from", "to", "port", "why"),
        "zh": ("编号", "来源", "目的", "端口", "原因"),
    }[language]
    rows: list[tuple[object, ...]] = [head]
    for flow in Topology.of(load_environment("lab")).flows:
        why = flow.zh if language == "zh" else flow.en
        port = f"{flow.service.protocol}/{flow.service.port}"
        rows.append((f"`{flow.id}`", flow.source, flow.destination, port, why))
    return _table(*rows)


def _marks() -> Iterator[tuple[str, str]]:
    """Every pair of a control's id and the test that carries it."""
    for path in sorted((CHECKOUT / "compliance_tests").glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for mark in node.decorator_list:
                    if isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith("mark.control"):
                        yield from ((one.value, node.name) for one in mark.args if isinstance(one, ast.Constant))


def _coverage(language: str) -> str:
    tests: dict[str, list[str]] = {}
    for control, test in _marks():
        tests.setdefault(control, []).append(test)
    head = {"en": ("item", "demand", "tests"), "zh": ("要求项", "要求（释义）", "测试")}[language]
    rows: list[tuple[object, ...]] = [head]
    for control in load_catalogue().values():
        if control.id in tests:
            names = ", ".join(f"`{name}`" for name in dict.fromkeys(tests[control.id]))
            rows.append((f"`{control.id}`", getattr(control.demand, language), names))
    return _table(*rows)


def write(folder: Path, language: str) -> None:
    """Write the generated pages of one language.

    :param folder: where they go; made when absent.
    :param language: ``en`` or ``zh``.
    """
    folder.mkdir(exist_ok=True)
    makers = {"environment": _environment, "verbs": _verbs, "flows": _flows, "coverage": _coverage}
    for name, make in makers.items():
        page = f"# {WORDS[name][language]}\n\n{INTRODUCTION[name][language]}\n\n{make(language)}"
        target = folder / f"{name}.{language}.md"
        if not target.exists() or target.read_text(encoding="utf-8") != page:
            target.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    for each in ("en", "zh"):
        write(CHECKOUT / "docs/_generated", each)
