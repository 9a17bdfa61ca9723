# SPDX-License-Identifier: Apache-2.0
"""Rules of the repository that no linter knows: licences, the direction of imports, what must never be committed."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

import jinku
from jinku.places import CHECKOUT

GPL, APACHE = "GPL-3.0-or-later", "Apache-2.0"
LONGEST_MODULE = 350  # lines; about 200 is the aim
LARGEST_FILE = 1_000_000  # bytes
SOURCE = {".py", ".sh", ".yml", ".yaml", ".toml", ".cfg", ".hcl", ".sql", ".js"}
#: Files without a comment of their own: REUSE.toml speaks for them.
WITHOUT_HEADER = re.compile(r"^(tests/golden/|compliance_tests/controls/|inventories/[a-z]+/environment\.yaml$)")


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (CHECKOUT / name).is_file()]


FILES = tracked()
MODULES = [name for name in FILES if name.endswith(".py")]


@cache
def text_of(name: str) -> str:
    """Text of a tracked file, "" when it is not text."""
    try:
        return (CHECKOUT / name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def imports_of(name: str) -> Iterator[str]:
    """Dotted names of all modules that a file imports, relative ones made absolute."""
    package = PurePosixPath(name).parts[:-1]
    for node in ast.walk(ast.parse(text_of(name), name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [] if not node.level else list(package[: len(package) - node.level + 1])
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def imported(name: str, *packages: str) -> list[str]:
    """What a file imports from any of the packages."""
    return [
        one for one in imports_of(name) if any(one == package or one.startswith(f"{package}.") for package in packages)
    ]


def is_source(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix in SOURCE or path.name == "Makefile" or (not path.suffix and text_of(name).startswith("#!"))


def licence_of(name: str) -> str:
    """GPL where the code runs inside a GPL program (Ansible, Tryton), Apache everywhere else."""
    inside = name.startswith(("plugins/", "roles/crm/files/crm/"))
    return GPL if inside or (name in MODULES and imported(name, "trytond", "jinku_crm")) else APACHE


def test_every_source_file_names_its_licence() -> None:
    wrong = []
    for name in FILES:
        if is_source(name) and not WITHOUT_HEADER.match(name) and text_of(name).strip():
            head = text_of(name).splitlines()[:3]
            if not any(f"SPDX-License-Identifier: {licence_of(name)}" in line for line in head):
                wrong.append(f"{name}: {licence_of(name)}")
    assert not wrong


@pytest.mark.parametrize(
    ("folder", "never"),
    [
        ("jinku/", ("stacks", "plugins", "compliance_tests", "tests", "roles", "hardening")),
        ("stacks/", ("plugins", "compliance_tests", "tests", "ansible")),
        ("plugins/", ("stacks", "compliance_tests", "tests", "pulumi")),
        ("compliance_tests/", ("stacks", "plugins", "pulumi", "ansible")),
        ("roles/", ("jinku", "stacks", "plugins", "compliance_tests")),
        ("plugins/on_host/", ("jinku", "ansible")),  # these run on the hosts, where there is neither
    ],
)
def test_imports_go_one_way(folder: str, never: tuple[str, ...]) -> None:
    wrong = {name: found for name in MODULES if name.startswith(folder) if (found := imported(name, *never))}
    assert not wrong


def test_only_the_command_line_knows_a_terminal() -> None:
    inside = [name for name in MODULES if name.startswith("jinku/") and not name.startswith("jinku/cli/")]
    wrong = {name: found for name in inside if (found := imported(name, "jinku.cli", "click", "rich"))}
    assert not wrong


def test_the_model_is_pure() -> None:
    """What it computes depends on environment.yaml alone, so that `render` works offline."""
    wrong = {}
    for name in MODULES:
        if name.startswith("jinku/model/"):
            found = imported(
                name, "os", "socket", "subprocess", "time", "datetime", "random", "secrets", "pulumi", "ansible"
            )
            own = [
                one
                for one in imported(name, "jinku")
                if not re.match(r"jinku(\.(model|places|lab_receiver|__version__)(\.|$)|$)", one)
            ]
            if found + own:
                wrong[name] = found + own
    assert not wrong


def test_nothing_reads_the_folder_beside_the_checkout() -> None:
    pattern = re.compile(r"(\.\.|work)/share[d]\b")
    assert not [name for name in FILES if pattern.search(text_of(name))]


def test_a_file_says_what_it_is_for() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "misc"}
    assert not [name for name in FILES for part in PurePosixPath(name).parts if part.split(".")[0].lower() in vague]


def test_no_package_registry_is_named() -> None:
    """Packages come from where the controller's own settings say (environment.yaml, debian.sources, pip, GOPROXY)."""
    hosts = [
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("snapshot", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("proxy", "golang", "org"),
        ("sum", "golang", "org"),
        ("registry", "npmjs", "org"),
        ("repo1", "maven", "org"),
        ("repo", "maven", "apache", "org"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("mirrors", "aliyun", "com"),
        ("mirrors", "tuna", "tsinghua", "edu", "cn"),
    ]
    pattern = re.compile(r"(?<![\w.-])(" + "|".join(re.escape(".".join(host)) for host in hosts) + r")(?![\w-])")
    assert not [f"{name}: {match[0]}" for name in FILES for match in pattern.finditer(text_of(name))]


SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{40}",
    "a vault token": r"\b(hvs|hvb|hvr|s)\.[A-Za-z0-9_-]{24,}",
    "a token of a forge or cloud": r"\b(gh[pousr]_[A-Za-z0-9]{30,}|glpat-[\w-]{20,}|AKIA[0-9A-Z]{16}|LTAI[A-Za-z0-9]{16,})\b",
    "a password in the open": r"(?i)\b(password|passwd|passphrase|secret|token)\b[\"']?\s*[:=]\s*[\"'][^\"'\s{}<$%/()]{8,}[\"']",
    "a password hash": r"\$(5|6|y|2[aby])\$[^\s\"']{20,}",
    "a password in a URL": r"\b[a-z][a-z0-9+]*://[^\s/:@\"'{}<>$]+:[^\s/:@\"'{}<>$]+@",
}


def test_nothing_looks_like_a_secret() -> None:
    wrong = []
    for name in FILES:
        for kind, pattern in SECRETS.items():
            found = [match[0] for match in re.finditer(pattern, text_of(name))]
            wrong += [
                f"{name}: {kind}: {one[:20]}..." for one in found if not re.search("abcdefgh|sabotage", one)
            ]  # invented ones
    assert not wrong


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN " + "PRIVATE KEY-----\n" + "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg",
        "hvs." + "CAESIJ2k0aV0xZ3kQm9yZXZlcm1vcmVfYWJj",
        "password" + ' = "Sommer2026!"',
        "postgresql" + "://crm:geheim@db1/crm",
    ],
)
def test_the_search_for_secrets_finds_one(text: str) -> None:
    assert any(re.search(pattern, text) for pattern in SECRETS.values())


def test_no_file_is_large() -> None:
    assert not [name for name in FILES if (CHECKOUT / name).stat().st_size > LARGEST_FILE]


def test_no_module_is_long() -> None:
    lengths = {name: len(text_of(name).splitlines()) for name in MODULES}
    assert not {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE}


def test_the_changelog_has_the_current_version() -> None:
    assert re.search(rf"^## {re.escape(jinku.__version__)}\b", text_of("CHANGELOG.md"), re.MULTILINE)
    assert f'version = "{jinku.__version__}"' in text_of("pyproject.toml")


def test_every_decision_is_listed_and_short() -> None:
    folder = CHECKOUT / "docs/adr"
    listed = re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))
    numbers = [int(name[:4]) for name in listed]
    assert numbers == list(range(1, len(numbers) + 1))
    for name in listed:
        lines = Path(folder / name).read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 20, f"{name}: a decision fits on 20 lines"
        assert lines[0].startswith(f"# {int(name[:4])}. "), f"{name}: title"
