# SPDX-License-Identifier: Apache-2.0
"""Runs the Pulumi program of every site of an environment, side by side, through the Automation API.

A stack per site: a site that is down fails alone. The state is a file backend under the environment's state folder,
encrypted with a passphrase that is generated once; `pulumi` itself works on the same stacks with :func:`engine_env`.
"""

import importlib.util
import json
import os
import re
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pulumi import automation
from pulumi.automation import events

from jinku.places import CHECKOUT, Places

PROJECT = "jinku"
PROGRAM = CHECKOUT / "stacks/__main__.py"
Verb = Literal["preview", "up", "refresh", "destroy"]


@dataclass(frozen=True)
class Step:
    """One change to one resource. ``seconds`` is None while it runs."""

    site: str
    change: str
    resource: str
    seconds: float | None = None
    failed: bool = False
    because: tuple[str, ...] = ()


@dataclass
class SiteResult:
    """What came of one site's stack: ``changes`` by Pulumi operation, ``outputs`` of the program, ``error`` text or ''."""

    site: str
    seconds: float = 0.0
    changes: dict[str, int] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def changed(self) -> int:
        """Number of resources that were or would be made, changed or removed."""
        return sum(count for change, count in self.changes.items() if change not in {"same", "read", "refresh"})


#: How long an interrupted run's engine may take to end its running operations and to save its state.
ORPHAN_SECONDS = 60.0


class OrphanError(Exception):
    """The engine of an interrupted run still works on the stack; the text names its process."""


def plain(message: str) -> str:
    """An error of the engine in the provider's own words: without the class that gRPC calls unexpected, or a traceback."""
    kept, inside = [], False
    for line in re.sub(r"Unexpected <class '[^']*'>:\s*", "", message).splitlines():
        if line.strip() == "Traceback (most recent call last):":
            inside = True
        elif inside and line.startswith(" "):
            continue
        elif inside:  # the error, which stands above its traceback already
            inside = False
        else:
            kept.append(line)
    return "\n".join(kept).strip() or message.strip()


OnStep = Callable[[Step], None]


def _passphrase(places: Places) -> Path:
    """File with the passphrase that encrypts the state."""
    return places.state / "pulumi.passphrase"


def _make_state(places: Places) -> None:
    """Make the folder of the state and, with 256 random bits, its passphrase (0600), unless they are there.

    :raises FileNotFoundError: the passphrase of a state that is there is gone; a new one would not read it.
    """
    places.make()
    places.pulumi.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = _passphrase(places)
    if not file.exists():
        if any((places.pulumi / ".pulumi/stacks").rglob("*.json")):
            raise FileNotFoundError(
                f"{file}: (file): is gone, and nothing else reads the state in {places.pulumi}; bring it back from a copy, or"
                " move that folder away: `jinku up` then takes the volumes over as they are"
            )
        scratch = file.with_name(f".{file.name}.{os.getpid()}")  # a full disk must not leave an empty passphrase
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(secrets.token_urlsafe(32))
        scratch.rename(file)


def _drop_sidecars(places: Places) -> None:
    """Remove the attributes that an engine with other variables left beside its files: an empty one hides the stack."""
    for sidecar in (places.pulumi / ".pulumi").rglob("*.attrs"):
        sidecar.unlink(missing_ok=True)


def _narrow(places: Places) -> None:
    """Leave the state, its history and its backups to their owner only: the engine writes them at 0644 within our 0700.

    A narrower umask would do it as well, and would reach the files that the provider puts into hosts.
    """
    for path in places.pulumi.rglob("*"):
        mode = path.lstat().st_mode
        if mode & 0o077 and not path.is_symlink():
            path.chmod(mode & 0o700)


def engine_env(places: Places, environment: Path) -> dict[str, str]:
    """Environment variables with which any Pulumi engine finds this environment's stacks.

    ``environment``: folder of environment.yaml. Passphrases go by file, never by value.
    """
    return {
        # Without the sidecars of its attributes, which the engine does not write in one step: killed between the two,
        # it leaves an empty one, and nothing reads the stack any more ("failed to load checkpoint: EOF").
        "PULUMI_BACKEND_URL": f"file://{places.pulumi}?metadata=skip",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(_passphrase(places)),
        "PULUMI_HOME": str(places.cache / "pulumi"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "JINKU_ENV": str(environment),
    }


def stack_name(environment: str, site: str) -> str:
    """``lab``, ``a`` -> ``lab-a``. Neither part holds a dash (model), so the name can be taken apart again."""
    return f"{environment}-{site}"


def _program() -> None:
    """Execute stacks/__main__.py, as a Pulumi language host would."""
    spec = importlib.util.spec_from_file_location("jinku_stack_program", PROGRAM)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(PROGRAM)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def _stack(places: Places, environment: Path, site: str) -> automation.Stack:
    """Select or make the stack of a site, in a work folder of its own outside the checkout."""
    work = places.pulumi / "work" / site
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    provider = {"name": "jinku", "path": str(Path(sys.executable).parent)}
    (work / "Pulumi.yaml").write_text(
        json.dumps({"name": PROJECT, "runtime": "python", "plugins": {"providers": [provider]}})  # JSON is YAML
    )
    workspace = automation.LocalWorkspace(
        work_dir=str(work), program=_program, env_vars=engine_env(places, environment)
    )
    return automation.Stack.create_or_select(stack_name(places.name, site), workspace)


def _alive(pid: int) -> bool:
    try:
        return "pulumi" in Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return False


def _recover(places: Places, stack: automation.Stack) -> None:
    """Clear what an interrupted run left: its engine, its lock and its pending operations.

    The caller holds the environment's lock, so whoever holds Pulumi's own is an orphan or is dead. A resource whose
    creation was cut off is made again by the next `up`; the provider's create finds and replaces the remains.
    :raises OrphanError: the engine does not end. Its lock stays, for two engines would spoil the state.
    """
    locks = list((places.pulumi / ".pulumi/locks").rglob(f"*/{stack.name}/*.json"))
    for lock in locks:
        pid = int(json.loads(lock.read_text()).get("pid", 0))
        deadline = time.monotonic() + ORPHAN_SECONDS
        if _alive(pid):
            os.kill(pid, signal.SIGINT)  # the engine ends its running operations and saves its state
        while _alive(pid) and time.monotonic() < deadline:
            time.sleep(0.2)
        if _alive(pid):
            what = f"the Pulumi engine of an interrupted run, process {pid}, has not ended in {ORPHAN_SECONDS:.0f} s"
            raise OrphanError(f"{lock}: pid: {what}; wait for it, or `kill -9 {pid}`, then the same command again")
    if locks:
        stack.cancel()
    exported = stack.export_stack()
    if exported.deployment and exported.deployment.get("pending_operations"):
        deployment = {**exported.deployment, "pending_operations": []}
        stack.import_stack(automation.Deployment(version=exported.version, deployment=deployment))


class _Listener:
    """Turns the engine's events into steps and keeps the errors."""

    def __init__(self, result: SiteResult, on_step: OnStep) -> None:
        self._result, self._on_step = result, on_step
        self._started: dict[str, float] = {}
        self._lock = threading.Lock()
        self.errors: list[str] = []

    def __call__(self, event: events.EngineEvent) -> None:
        with self._lock:  # events come on several threads
            if event.resource_pre_event:
                self._step(event.resource_pre_event.metadata, done=False)
            elif event.res_outputs_event:
                self._step(event.res_outputs_event.metadata, done=True)
            elif event.res_op_failed_event:
                self._step(event.res_op_failed_event.metadata, done=True, failed=True)
            elif event.diagnostic_event and event.diagnostic_event.severity == "error":
                self.errors.append(plain(event.diagnostic_event.message))
            elif event.summary_event:
                self._result.changes = {
                    str(getattr(change, "value", change)): count
                    for change, count in (event.summary_event.resource_changes or {}).items()
                }

    def _step(self, metadata: events.StepEventMetadata, *, done: bool, failed: bool = False) -> None:
        change = str(getattr(metadata.op, "value", metadata.op))
        if change in {"same", "read", "refresh"} or not metadata.provider:
            return  # nothing happens to the resource, or it only groups others
        key = f"{change} {metadata.urn}"
        seconds = None
        if done:
            seconds = time.monotonic() - self._started.pop(key, time.monotonic())
        else:
            self._started[key] = time.monotonic()
        kind, name = metadata.type.rsplit(":", 1)[-1].lower(), metadata.urn.rsplit("::", 1)[-1]
        step = Step(self._result.site, change, f"{kind} {name}", seconds, failed, tuple(metadata.diffs or ()))
        if done:
            self._result.steps.append(step)
        self._on_step(step)


def _run_site(verb: Verb, places: Places, environment: Path, site: str, on_step: OnStep) -> SiteResult:
    """Run one verb on one site's stack; whatever goes wrong becomes the result's error, so that other sites go on."""
    result = SiteResult(site)
    listener = _Listener(result, on_step)
    begun = time.monotonic()
    try:
        stack = _stack(places, environment, site)
        _recover(places, stack)
        if verb == "preview":
            stack.preview(refresh=True, on_event=listener)
        elif verb == "up":
            done = stack.up(refresh=True, continue_on_error=True, on_event=listener, show_secrets=False)
            result.outputs = {name: output.value for name, output in done.outputs.items()}
        elif verb == "refresh":
            stack.refresh(on_event=listener, show_secrets=False)
        else:
            stack.destroy(continue_on_error=True, exclude_protected=True, on_event=listener, show_secrets=False)
            if not _protected(stack):
                stack.workspace.remove_stack(stack.name)
    except automation.CommandError as error:
        result.error = "\n".join(listener.errors) or plain(str(error))
    except OrphanError as error:
        result.error = str(error)
    except Exception as error:  # noqa: BLE001 - a site must not take the other with it
        result.error = f"{type(error).__name__}: {error}"
    result.seconds = time.monotonic() - begun
    return result


def _protected(stack: automation.Stack) -> list[str]:
    """Names of the resources that outlived `destroy` because they are protected."""
    deployment = stack.export_stack().deployment or {}
    return [
        resource["urn"].rsplit("::", 1)[-1] for resource in deployment.get("resources", []) if resource.get("protect")
    ]


def run(
    verb: Verb, places: Places, environment: Path, sites: list[str], engine: Path, on_step: OnStep
) -> list[SiteResult]:
    """Run a verb on the stacks of all sites at the same time.

    :param environment: folder of environment.yaml.
    :param sites: names of the sites; one stack each.
    :param engine: the Pulumi engine (:mod:`jinku.engine`).
    :param on_step: told of each change as it starts and ends, from several threads.
    :returns: one result a site, in the order of ``sites``; it never raises for a failed site.
    """
    _make_state(places)
    _drop_sidecars(places)
    os.environ.pop("PULUMI_CONFIG_PASSPHRASE", None)  # it would win over the file
    os.environ["JINKU_ENV"] = str(environment)  # the program runs in this process
    os.environ["PATH"] = f"{engine.parent}:{os.environ['PATH']}"  # the Automation API takes `pulumi` from PATH
    try:
        with ThreadPoolExecutor(len(sites)) as pool:
            return list(pool.map(lambda site: _run_site(verb, places, environment, site, on_step), sites))
    finally:
        _narrow(places)
