# SPDX-License-Identifier: Apache-2.0
"""Every role keeps to the same form; Ansible itself accepts a misspelt variable or option without a word."""

import ipaddress
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jinja2
import jinja2.nodes
import pytest
import yaml

from jinku.model.environment import Tier

REPOSITORY = Path(__file__).resolve().parent.parent
ROLES = sorted(path.parent for folder in ("hardening", "roles") for path in (REPOSITORY / folder).glob("*/tasks"))
#: What Ansible, or a loop of ours, defines by itself.
GIVEN = {
    "item", "hostvars", "groups", "group_names", "inventory_hostname", "play_hosts", "ansible_play_hosts", "ansible_user",
    "ansible_check_mode", "ansible_diff_mode", "ansible_host", "ansible_ssh_common_args", "ansible_ssh_private_key_file",
    "ansible_play_hosts_all", "ansible_facts", "ansible_loop_var",
    "ansible_run_tags", "ansible_managed", "playbook_dir", "role_path", "role_name", "omit", "lookup", "query", "q", "now", "range", "namespace",
    "dict", "loop", "joiner", "cycler", "lipsum", "undef",
}  # fmt: skip
PREFIXES = ("ansible.builtin.",)
OWN_ACTIONS = {"tree", "packages", "part", "operators", "vault", "volumes", "converge", "units"}
IMPORT = "ansible.builtin.import_role"
KEYWORDS = {
    "name", "when", "register", "notify", "become", "become_user", "vars", "loop", "loop_control", "changed_when", "failed_when",
    "check_mode", "diff", "delegate_to", "run_once", "no_log", "environment", "tags", "retries", "delay", "until", "args", "block",
    "rescue", "always", "listen", "ignore_unreachable", "ignore_errors", "throttle", "async", "poll", "delegate_facts", "timeout",
    "any_errors_fatal",
}  # fmt: skip
ADDRESS = re.compile(
    r"(?<![\w.:-])(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9a-f:]*:[0-9a-f]*:[0-9a-f:]*)(?![\w:]|\.\d)", re.IGNORECASE
)
#: Loopback, any, and the multicast names of /etc/hosts mean the same everywhere.
SAME_EVERYWHERE = {
    "127.0.0.1", "0.0.0.0",  # noqa: S104 - a search, not a listener
    "127.0.0.0", "127.0.1.1", "::", "::1", "ff02::1", "ff02::2",
}  # fmt: skip
PORT = re.compile(r"\bports?\b\W{0,4}(\d{2,5})\b|(?:X|localhost|\]|\.[a-z]+|\.\d+):(\d{2,5})\b(?![:\d])", re.IGNORECASE)
TEMPLATED = re.compile(r"\{\{|\{%")

#: Only parses; nothing is rendered.
ENVIRONMENT = jinja2.Environment(trim_blocks=True, autoescape=True)


class _Anything(dict):  # type: ignore[type-arg]
    """Knows every filter and test, so that Jinja parses Ansible's own."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: object) -> Any:
        return str


ENVIRONMENT.filters, ENVIRONMENT.tests = _Anything(ENVIRONMENT.filters), _Anything(ENVIRONMENT.tests)

role = pytest.mark.parametrize("role", ROLES, ids=[f"{path.parent.name}/{path.name}" for path in ROLES])


def load(path: Path, default: Any = None) -> Any:
    """Return a YAML file's content, or the default where there is no file."""
    return yaml.safe_load(path.read_text()) if path.exists() else default


def tasks_of(role: Path) -> Iterator[dict[str, Any]]:
    """Yield every task and handler of a role, those in blocks too."""
    for file in sorted([*role.glob("tasks/**/*.yml"), *role.glob("handlers/**/*.yml")]):
        yield from flattened(load(file) or [])


def flattened(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield tasks depth first."""
    for task in tasks:
        yield task
        for inner in ("block", "rescue", "always"):
            yield from flattened(task.get(inner, []))


def options(role: Path) -> dict[str, dict[str, Any]]:
    """Return the options of the role's argument specification."""
    spec = load(role / "meta/argument_specs.yml") or {}
    found: dict[str, dict[str, Any]] = spec["argument_specs"]["main"].get("options", {})
    return found


def expressions(value: Any, bare: bool = False) -> Iterator[str]:
    """Yield the Jinja texts in YAML data; conditions are bare expressions."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from expressions(inner, key in ("when", "until", "changed_when", "failed_when", "that"))
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner, bare)
    elif isinstance(value, str):
        yield f"{{{{ {value} }}}}" if bare and not TEMPLATED.search(value) else value


def names_in(text: str) -> set[str]:
    """Return the variables that a Jinja text takes from outside (jinja2.meta misses some behind an `if`)."""
    tree = ENVIRONMENT.parse(text)
    names = list(tree.find_all(jinja2.nodes.Name))
    own = {name.name for name in names if name.ctx != "load"} | {
        macro.name for macro in tree.find_all(jinja2.nodes.Macro)
    }
    return {name.name for name in names} - own


def used(role: Path) -> dict[str, str]:
    """Return every variable the role uses, with one place where it does."""
    found: dict[str, str] = {}
    texts = [(file, file.read_text()) for file in sorted(role.glob("templates/**/*")) if file.is_file()]
    for pattern in ("tasks/**/*.yml", "handlers/**/*.yml", "defaults/*.yml", "vars/*.yml", "manifest*.yml"):
        texts += [(file, text) for file in sorted(role.glob(pattern)) for text in expressions(load(file))]
    for file, text in texts:
        for name in names_in(text):
            found.setdefault(name, str(file.relative_to(REPOSITORY)))
    return found


def made(role: Path) -> set[str]:
    """Return the variables that the role makes itself: vars, registered results, facts and loop variables."""
    names: set[str] = set()
    for file in role.glob("vars/*.yml"):
        names |= set(load(file) or {})
    for task in tasks_of(role):
        names |= {task["register"]} if "register" in task else set()
        names |= set(task.get("vars", {})) | set(task.get("ansible.builtin.set_fact", {}))
        control = task.get("loop_control", {})
        names |= {control[key] for key in ("loop_var", "index_var") if key in control}
    return names


@role
def test_the_specification_is_the_defaults_plus_what_is_required(role: Path) -> None:
    spec = options(role)
    required = {name for name, option in spec.items() if option.get("required")}
    assert set(spec) - required == set(load(role / "defaults/main.yml") or {}), (
        "options that are not required have a default"
    )
    for name, option in spec.items():
        assert set(option) >= {"type", "description"}, f"{name}: type and description"
        assert "default" not in option, f"{name}: Ansible does not apply it; defaults/main.yml does"
        assert name.startswith((f"{role.name}_", *(("jinku_", "ansible_") if name in required else ()))), (
            f"{name}: whose is it?"
        )


@role
def test_every_variable_used_is_declared(role: Path) -> None:
    known = GIVEN | set(options(role)) | made(role)
    unknown = {f"{name} ({where})" for name, where in used(role).items() if name not in known}
    assert not unknown


@role
def test_every_option_is_used(role: Path) -> None:
    """An option nobody reads is a promise nobody keeps."""
    assert not set(options(role)) - set(used(role))


@role
def test_private_variables_carry_the_roles_name(role: Path) -> None:
    wrong = {name for name in made(role) if not name.startswith((f"__{role.name}_", f"{role.name}_"))}
    assert not wrong


@role
def test_every_task_has_a_name_and_a_full_module_name(role: Path) -> None:
    for task in tasks_of(role):
        assert task.get("name"), f"a task without a name: {task}"
        for key in set(task) - KEYWORDS:
            assert key.startswith(PREFIXES) or key in OWN_ACTIONS, (
                f"{task['name']}: {key}: unknown keyword or a short module name"
            )


def written_down(text: str) -> list[str]:
    """Return the ports and addresses that a line of a role names itself."""
    found = [match.group() for match in PORT.finditer(text)]
    for match in ADDRESS.finditer(text):
        try:
            ipaddress.ip_address(match.group())
        except ValueError:
            continue
        if match.group() not in SAME_EVERYWHERE:
            found.append(match.group())
    return found


@role
def test_no_port_or_address_is_written_down(role: Path) -> None:
    """They come from the flows; a role that names its own disagrees with the firewall one day."""
    for file in sorted(path for path in role.rglob("*") if path.is_file()):
        if "__pycache__" in file.parts or file.suffix in (".png", ".gz") or file.name == "README.md":
            continue
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            code = re.sub(r"\{\{.*?\}\}", "X", re.sub(r"(^|\s)#.*", "", line))
            assert not written_down(code), f"{file.relative_to(REPOSITORY)}:{number}: {line}"


@role
def test_every_manifest_entry_has_its_file_and_every_file_its_entry(role: Path) -> None:
    listed = {
        str(entry.get("source", entry["path"])).lstrip("/")
        for manifest in role.glob("manifest*.yml")
        for entry in load(manifest)
        if entry.get("state", "file") == "file"
    }
    plain = {str(file.relative_to(role / "files")) for file in (role / "files").rglob("*") if file.is_file()}
    rendered = {
        str(file.relative_to(role / "templates")).removesuffix(".j2") for file in (role / "templates").rglob("*.j2")
    }
    assert {name for name in listed if "{{" not in name} <= plain | rendered
    if listed:
        assert {name for name in plain | rendered if name.split("/")[0] in ("etc", "usr", "var", "srv")} <= listed


@role
def test_what_is_refused_for_want_of_its_volume_is_started_once_it_is_open(role: Path) -> None:
    """systemd starts nothing again whose dependency failed: a link for the boot alone leaves it behind at a cold start."""
    entries = [entry for file in role.glob("manifest*.yml") for entry in load(file)]
    links = {str(entry["path"]) for entry in entries if entry.get("state") == "link"}
    boot, opened = "/etc/systemd/system/multi-user.target.wants/", "/etc/systemd/system/jinku-volumes.target.wants/"
    for unit in [*role.rglob("*.service"), *role.rglob("*.service.j2"), *role.rglob("*.service.d/*.conf*")]:
        name = (unit.parent.name.removesuffix(".d") if unit.parent.name.endswith(".d") else unit.name).removesuffix(
            ".j2"
        )
        if "Requires=jinku-volumes.service" in unit.read_text() and boot + name in links:
            assert opened + name in links, f"{name}: in multi-user.target.wants, and not in jinku-volumes.target.wants"


HOOKS = sorted(file for role in ROLES for file in role.glob("*/etc/jinku/tls-reload.d/*"))


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.stem)
def test_a_hook_of_the_certificate_names_no_file_that_the_agents_sandbox_does_not_let_it_write(hook: Path) -> None:
    """The agent runs the hooks, under ProtectSystem=strict. A program is another thing: it is read."""
    unit = (REPOSITORY / "roles/enrol/files/etc/systemd/system/jinku-agent.service").read_text(encoding="utf-8")
    writable = re.findall(r"^ReadWritePaths=(.+)$", unit, re.MULTILINE)
    assert writable == ["/etc/jinku"], "one folder; this test knows no others"
    text = "\n".join(line for line in hook.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    paths = re.findall(r"(?<![\w.$}/])/[\w./-]+", text)
    assert not [path for path in paths if not path.startswith(("/etc/jinku/", "/usr/", "/dev/null"))]


def test_the_settings_of_amtool_lie_where_debian_s_reads_them() -> None:
    """Debian's reads this place and not upstream's /etc/amtool: without them it speaks HTTP, to a port that wants TLS."""
    entries = {entry["path"]: entry.get("state", "file") for entry in load(REPOSITORY / "roles/monitor/manifest.yml")}
    assert entries["/etc/prometheus/amtool.yml"] == "file"
    assert entries["/etc/amtool"] == "absent"
    said = load(REPOSITORY / "roles/monitor/templates/etc/prometheus/amtool.yml.j2")
    assert said["alertmanager.url"].startswith("https://127.0.0.1:")
    assert said["http.config.file"] in entries
    assert said["output"] == "extended", "names node and place of an alarm"


def test_every_tier_that_a_node_may_have_is_a_role_and_a_stage() -> None:
    """A tier without a role would be accepted and do nothing."""
    stages = load(REPOSITORY / "site.yml")
    for tier in get_args(Tier):
        assert (REPOSITORY / "roles" / tier / "tasks/main.yml").is_file(), tier
        assert any(stage["hosts"] == tier for stage in stages), tier


def test_the_stages_name_every_role() -> None:
    """A role that no stage runs is dead."""
    run = {task[IMPORT]["name"] for play in load(REPOSITORY / "site.yml") for task in play["tasks"]}
    assert run == {path.name for path in ROLES}


def test_each_role_is_its_own_tag() -> None:
    for play in load(REPOSITORY / "site.yml"):
        for task in play["tasks"]:
            name, part = task[IMPORT]["name"], task[IMPORT].get("tasks_from")
            assert (f"{name}_{part}" if part else name) in task["tags"]


def test_a_plan_makes_no_trial_of_a_packet_filter_or_of_settings_of_ssh() -> None:
    """In check mode they are not on the host, and the trial's first question would be an error in the place of the plan."""
    (reload,) = load(REPOSITORY / "hardening/ssh/handlers/main.yml")
    (load_it,) = (
        task
        for task in load(REPOSITORY / "hardening/firewall/tasks/main.yml")
        if task.get("ansible.builtin.include_tasks") == "load.yml"
    )
    assert "not ansible_check_mode" in reload["when"]
    assert "not ansible_check_mode" in load_it["when"]


def test_the_integrity_check_settles_after_every_handler() -> None:
    """What a handler changes after it would be an alarm, if the run were killed between the two."""
    stages = load(REPOSITORY / "site.yml")
    assert [task[IMPORT]["name"] for task in stages[-1]["tasks"]] == ["integrity"]
    assert not (REPOSITORY / "hardening/integrity/handlers").exists()


@pytest.mark.parametrize(
    "text", ["listen 10.1.2.3", "fd77:a::4", "[fd77:a::4]:x", "port 6514", "http://X:8200/", "db.internal:5432"]
)
def test_a_port_or_address_that_is_written_down_is_found(text: str) -> None:
    assert written_down(text)


@pytest.mark.parametrize(
    "text", ["04:00:00", "127.0.0.1", "::1", "version 1.2.3", "MaxStartups 30:30:100", "id:1000", "port X"]
)
def test_what_only_looks_like_one_is_not(text: str) -> None:
    assert not written_down(text)


def test_a_host_whose_volume_is_not_mounted_is_refused(tmp_path):
    """Below it lies an empty folder, where the roles would make a new database in the place of the old one."""
    (base, *_) = yaml.safe_load((REPOSITORY / "site.yml").read_text())
    _options, task = base["pre_tasks"]
    assert task["tags"] == ["always"]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)  # noqa: S701 - a command, not HTML

    def refused(*mounts, **disk):
        volumes = [{"name": mount, "mount": mount, **disk} for mount in mounts]
        command = environment.from_string(task["ansible.builtin.raw"]).render(jinku_node={"volumes": volumes})
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)

    assert refused("/proc", "/").returncode == 0
    told = refused("/proc", str(tmp_path))
    assert told.returncode == 1
    assert f"{tmp_path}: volume: is not mounted" in told.stderr
    # A disk that was given is encrypted and mounted by the role volumes, which comes later.
    assert refused(str(tmp_path), device="/dev/vdb", format=True).returncode == 0
