# SPDX-License-Identifier: Apache-2.0
"""The documents tell the truth: their commands exist and CI runs them, their links lead somewhere, their pictures are current."""

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import click
import pytest

from jinku.cli import VERBS, cli
from jinku.cli.exit_codes import ExitCode
from jinku.model import Topology, load_environment
from jinku.model.inventory import inventory
from jinku.places import CHECKOUT, Places

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
#: Not run by CI: they need another machine, or hosts of a second environment.
NOT_RUN = ("ssh -L ", "jinku plan --env ", "jinku up --env ")


def tool(name: str) -> ModuleType:
    """Load a script of tools/."""
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / f"tools/{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text_of(name: str) -> str:
    return (CHECKOUT / name).read_text(encoding="utf-8")


readme_commands = tool("readme_commands")


def shown(name: str) -> list[Any]:
    found: list[Any] = readme_commands.commands(text_of(name))
    return found


def documents() -> list[str]:
    done = subprocess.run(["git", "ls-files", "*.md"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return done.stdout.split()


def pages(language: str) -> list[str]:
    """Pages of the docs site in one language."""
    return [name for name in documents() if name.startswith("docs/") and name.endswith(f".{language}.md")]


def skeleton(name: str) -> list[str]:
    """What both languages of a page must share: its headings' levels, tables, blocks and pictures, in order."""
    text = re.sub(r"^```\{toctree\}.*?^```$", "", text_of(name), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^(#+ |\| |!\[|```\S*)", text, re.MULTILINE)


def test_every_page_is_there_in_both_languages() -> None:
    assert {name.removesuffix(".en.md") for name in pages("en")} == {
        name.removesuffix(".zh.md") for name in pages("zh")
    }


@pytest.mark.parametrize("page", pages("en"))
def test_both_languages_of_a_page_say_the_same(page: str) -> None:
    twin = page.removesuffix(".en.md") + ".zh.md"
    assert shown(page) == shown(twin)
    assert skeleton(page) == skeleton(twin)


def test_both_readmes_show_the_same_commands() -> None:
    assert shown(ENGLISH)
    assert shown(ENGLISH) == shown(CHINESE)


def test_both_readmes_have_the_same_parts() -> None:
    def parts(name: str) -> list[str]:
        return re.findall(r"^(#+ |\| |!\[|```|- )", text_of(name), re.MULTILINE)

    assert parts(ENGLISH) == parts(CHINESE)


@pytest.mark.parametrize("document", [ENGLISH, "CONTRIBUTING.md"])
def test_every_make_target_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", text_of("Makefile"), re.MULTILINE))
    typed = [word for one in shown(document) if one.command.startswith("make ") for word in one.command.split()[1:]]
    named = re.findall(r"`make ([a-z-]+)`", text_of(document))
    assert typed
    assert {word for word in typed + named if "=" not in word} <= targets


def refusal(command: str) -> str:
    """What is wrong with a `jinku ...` command, as far as click knows: the verb, its options and its arguments; "" if nothing."""
    words = shlex.split(command)[1:]
    verb = cli.get_command(click.Context(cli), words[0])
    if verb is None:
        return f"there is no verb {words[0]}"
    ours = words[1 : words.index("--")] if "--" in words else words[1:]
    if isinstance(verb, click.Group) and ours:  # `jinku secret` alone speaks of the whole
        part = verb.get_command(click.Context(verb), ours[0])
        if part is None:
            return f"{words[0]} has no part {ours[0]}"
        verb = part
    options = {name for parameter in verb.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in ours if word.startswith("-") and word.split("=")[0] not in options | {"--help", "-h"}]
    return f"{words[0]} has no option {', '.join(unknown)}" if unknown else ""


@pytest.mark.parametrize("document", [ENGLISH, CHINESE, "CONTRIBUTING.md", "SECURITY.md", *pages("en"), *pages("zh")])
def test_every_jinku_command_exists(document: str) -> None:
    typed = [one.command for one in shown(document) if one.command.startswith("jinku ")]
    named = [one for one in re.findall(r"`(jinku [a-z][^`]*)`", text_of(document)) if "NODE" not in one]
    assert not {command: wrong for command in typed + named if (wrong := refusal(command))}


def test_a_command_that_is_not_there_is_noticed() -> None:
    assert refusal("jinku undo") == "there is no verb undo"
    assert refusal("jinku nodes --yaml --env x") == "nodes has no option --yaml"
    assert refusal("jinku secret show room") == "secret has no part show"
    assert refusal("jinku secret put room --value x") == "secret has no option --value"
    assert not refusal("jinku secret put room --env x")
    assert not refusal("jinku ssh db1 -- ls --color")


def test_every_verb_is_in_the_readme() -> None:
    for name in (ENGLISH, CHINESE):
        assert not [verb for verb in VERBS if not re.search(rf"\| .*`jinku {verb}\b.* \|", text_of(name))]


def test_the_exit_codes_are_those_of_the_program() -> None:
    wanted = sorted(code.value for code in ExitCode)
    for name in (ENGLISH, CHINESE):
        assert [int(code) for code in re.findall(r"^\| (\d+) \|", text_of(name), re.MULTILINE)] == wanted


def test_ci_runs_the_commands() -> None:
    ci = text_of(".ci/run")
    assert "tools/readme_commands.py" in ci
    left_out = [one.command for one in shown(ENGLISH) if not one.ci and not one.command.startswith(NOT_RUN)]
    assert left_out
    assert not [command for command in left_out if command not in ci]
    done = subprocess.run([CHECKOUT / "tools/readme_commands.py"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [one.command for one in shown(ENGLISH) if one.ci]


def test_lines_that_end_in_a_backslash_are_one_command() -> None:
    text = "```console ci\n$ jinku nodes \\\n    --json\n{}\n```\n"
    assert [one.command.split() for one in readme_commands.commands(text)] == [["jinku", "nodes", "--json"]]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_picture_of_the_environment_is_current(language: str) -> None:
    """`python tools/readme_pictures.py` writes it."""
    pictures = tool("readme_pictures")
    assert pictures.PICTURES[language].read_text(encoding="utf-8") == pictures.picture(language)


def test_the_variables_of_the_inventory_are_documented() -> None:
    computed = inventory(Topology.of(load_environment("lab")), Places("lab"))
    given = {name for values in computed["_meta"]["hostvars"].values() for name in values if name.startswith("jinku_")}
    rows = dict(re.findall(r"^\| `(jinku_[a-z_]+)` \| (.*) \|$", text_of("CONTRIBUTING.md"), re.MULTILINE))
    assert set(rows) == given
    host = computed["_meta"]["hostvars"]["db1"]
    for name in ("jinku_env", "jinku_node", "jinku_outside", "jinku_alerts"):
        assert not [key for key in host[name] if f"`{key}`" not in rows[name]], name


def anchors(document: Path) -> set[str]:
    """Anchors of a document's headings, as forges make them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", documents())
def test_links_lead_somewhere(document: str) -> None:
    text = re.sub(r"^```.*?^```$", "", text_of(document), flags=re.MULTILINE | re.DOTALL)
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:|_generated/", link):  # the build of the site makes those pages, and checks links to them
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (CHECKOUT / document).parent / path if path else CHECKOUT / document
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(("duty", "page"), [("audit", "logs-wait"), ("security", "host-changed")])
def test_a_duty_may_run_what_its_runbook_says(duty: str, page: str, language: str) -> None:
    """Sudo lets the duty run these commands only, with their arguments; `jinku ssh` is the automation account's."""
    rules = text_of("hardening/accounts/templates/etc/sudoers.d/jinku.j2").replace("\\\n", "")
    own = f"JINKU_{duty.upper()}"
    assert re.search(rf"^%jinku-{duty} ALL=\(root\) NOPASSWD: JINKU_READ, {own}$", rules, re.MULTILINE)
    aliases = re.findall(rf"^Cmnd_Alias (?:JINKU_READ|{own}) = (.*)$", rules, re.MULTILINE)
    assert len(aliases) == 2
    allowed = {command.strip() for alias in aliases for command in alias.split(", ")}
    wanted = re.findall(r"`sudo ([^`\n]+)`", text_of(f"docs/runbooks/{page}.{language}.md"))
    assert wanted
    assert {f"/usr/bin/{command}" for command in wanted} <= allowed
