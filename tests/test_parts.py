# SPDX-License-Identifier: Apache-2.0
"""Parts: only the pinned bytes become a package, the same bytes each time, and dpkg can tell a changed program."""

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from jinku import parts
from jinku.parts import LOCK_FILE, PartError, ensure_part, part_version, unpack_part

MACHINE = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a lock file with one part, `tool`, whose wheel pip would find; nothing is downloaded."""
    wheel = tmp_path / "tool-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tool/bin/tool", "#!/bin/sh\necho hello\n")
        archive.writestr("tool/LICENSE", "free\n")
    part: dict[str, Any] = {
        "version": "1.0",
        "revision": 3,
        "summary": "a tool",
        "pypi": "tool",
        "install": "usr/bin/tool",
    }
    part |= {"member": "tool/bin/tool", "copyright": "tool/LICENSE"}
    part["wheels"] = {MACHINE: {"platform": "any", "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}}
    path = tmp_path / "parts.lock.yaml"
    path.write_text(yaml.safe_dump({"schema": "jinku/parts/1", "parts": {"tool": part}}))
    real = subprocess.run

    def run(command: list[str], **more: Any) -> Any:
        if "download" not in command:
            return real(command, **more)
        target = Path(command[command.index("--dest") + 1], wheel.name)
        target.write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(parts.subprocess, "run", run)
    return path


def test_a_part_becomes_a_package(lock: Path, tmp_path: Path) -> None:
    package = ensure_part("tool", tmp_path / "cache", lock_file=lock)
    assert package.name == f"tool_1.0-3_{MACHINE}.deb"
    listed = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True).stdout
    assert "-rwxr-xr-x root/root" in next(line for line in listed.splitlines() if line.endswith("./usr/bin/tool"))
    sums = subprocess.run(["dpkg-deb", "--info", package, "md5sums"], capture_output=True, text=True, check=True).stdout
    assert hashlib.md5(b"#!/bin/sh\necho hello\n", usedforsecurity=False).hexdigest() in sums
    program = unpack_part("tool", tmp_path / "cache", lock_file=lock) / "usr/bin/tool"
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "hello\n"


def test_a_package_is_the_same_bytes_each_time(lock: Path, tmp_path: Path) -> None:
    one, other = (ensure_part("tool", tmp_path / place, lock_file=lock).read_bytes() for place in ("one", "other"))
    assert one == other


def test_other_bytes_than_the_pinned_ones_are_refused(lock: Path, tmp_path: Path) -> None:
    """Whoever replaced the wheel on its way gets nothing installed, and nothing is left in the cache."""
    content = yaml.safe_load(lock.read_text())
    content["parts"]["tool"]["wheels"][MACHINE]["sha256"] = "0" * 64
    lock.write_text(yaml.safe_dump(content))
    with pytest.raises(PartError, match=r"sha256 is .*; the pinned one is 0000"):
        ensure_part("tool", tmp_path / "cache", lock_file=lock)
    assert list((tmp_path / "cache/parts").glob("*.deb")) == []


def test_an_unknown_part_or_architecture_is_named(lock: Path, tmp_path: Path) -> None:
    with pytest.raises(PartError, match="parts: other is not there; there are tool"):
        ensure_part("other", tmp_path, lock_file=lock)
    with pytest.raises(PartError, match="no wheel for riscv64"):
        ensure_part("tool", tmp_path, architecture="riscv64", lock_file=lock)


def test_every_part_is_pinned_for_both_architectures() -> None:
    for name, part in yaml.safe_load(LOCK_FILE.read_text())["parts"].items():
        if "go" in part:  # files for every architecture
            assert part["sum"].startswith("h1:")
            continue
        assert set(part["wheels"]) == {"amd64", "arm64"}
        assert all(len(wheel["sha256"]) == 64 for wheel in part["wheels"].values())
        assert part_version(name) == f"{part['version']}-{part['revision']}"
