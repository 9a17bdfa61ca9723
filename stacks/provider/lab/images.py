# SPDX-License-Identifier: Apache-2.0
"""Golden layers: a base system made by mmdebstrap, and over it one layer for the packages of a set of tiers.

A layer lies in `<cache>/images/<digest>/`, is shared by all environments of the machine and never changes once it has that name.
`image.json` in it names the folders to stack, lowest last, as overlayfs wants them.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .process import LabError, locked, run
from .sources import Sources, controller_sources

# What a host needs before any role: to boot, to be reached, and to run Ansible's modules.
SYSTEM = (
    *("systemd", "systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "sudo", "acl", "python3", "python3-apt"),
    *("nftables", "iproute2", "iputils-ping", "netbase", "procps", "ca-certificates"),
)
RECIPE = 1  # part of every digest: raise it when a script below makes another result
SCRIPTS = Path(__file__).parent / "scripts"


@dataclass(frozen=True)
class Recipe:
    """What determines an image. Two equal recipes are one image.

    base: digest of the image it stands on, "" for a bare Debian. parts: paths of local .deb files.
    """

    suite: str
    packages: tuple[str, ...]
    parts: tuple[str, ...] = ()
    base: str = ""

    def digest(self) -> str:
        """Content address, 16 hexadecimal digits. Raises LabError if a part is missing."""
        told: dict[str, object] = {
            **asdict(self),
            "recipe": RECIPE,
            "parts": [file_digest(Path(part)) for part in self.parts],
        }
        told["scripts"] = [file_digest(path) for path in sorted(SCRIPTS.glob("image-*.sh"))]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Image:
    """Inputs of an image. name, tiers: for people. parts: paths of .deb files. cache: folder. base: path of another image, or ""."""

    name: str
    suite: str
    cache: str
    packages: tuple[str, ...]
    tiers: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    base: str = ""

    @property
    def recipe(self) -> Recipe:
        """What determines it."""
        return recipe(self.suite, self.packages, self.parts, self.base)

    @property
    def cache_folder(self) -> Path:
        """The cache that holds the images of the machine."""
        return Path(self.cache)

    @property
    def path(self) -> Path:
        """Where it lies once it is made. Raises LabError if a part is missing."""
        return folder(self.cache_folder, self.recipe.digest())


def file_digest(path: Path) -> str:
    """SHA-256 of a file. Raises LabError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as failure:
        raise LabError(
            f"parts: {path}: {failure.strerror}; the path of a .deb on the controller would be right"
        ) from failure


def recipe(suite: str, packages: Sequence[str], parts: Sequence[str] = (), base: str = "") -> Recipe:
    """Recipe of a layer, from inputs in any order. base: path or digest of the image below; "": a bare Debian."""
    below = Path(base).name or Recipe(suite, SYSTEM).digest()
    if not packages and not parts:
        return Recipe(suite, SYSTEM)
    return Recipe(suite, tuple(sorted(set(packages))), tuple(sorted(parts)), below)


def folder(cache: Path, digest: str) -> Path:
    """Where an image lies or would lie."""
    return cache / "images" / digest


def layers(image: Path) -> list[Path]:
    """Folders to stack, uppermost first. Raises LabError if the image is not there."""
    try:
        told = json.loads((image / "image.json").read_text())
    except (OSError, ValueError) as failure:
        raise LabError(f"{image}: no image in it; `jinku up` would make it") from failure
    return [image.parent / digest / "root" for digest in told["layers"]]


def present(image: Path) -> bool:
    """True if the image and all it stands on are there."""
    try:
        return all(layer.is_dir() for layer in layers(image))
    except LabError:
        return False


async def ensure(cache: Path, wanted: Recipe) -> Path:
    """Make the image unless it is there, and return its folder. Only one builder at a time works on it.

    It is made under another name and renamed when complete: a crash leaves nothing that looks like an image.
    """
    image = folder(cache, wanted.digest())
    if present(image):
        return image
    if wanted.base and not present(folder(cache, wanted.base)):
        await ensure(cache, Recipe(wanted.suite, SYSTEM))
    async with locked(cache / "images" / f".{image.name}.lock"):
        if present(image):
            return image
        draft = image.with_name(f".{image.name}.draft")
        await discard(draft)
        draft.mkdir(parents=True)
        try:
            await build(draft, wanted, controller_sources())
        except BaseException:
            await discard(draft)
            raise
        below = [] if not wanted.base else [layer.parent.name for layer in layers(folder(cache, wanted.base))]
        (draft / "image.json").write_text(
            json.dumps({"layers": [image.name, *below], "recipe": asdict(wanted)}, indent=1) + "\n"
        )
        os.sync()  # a power loss must not leave a name without its content
        await discard(image)
        draft.rename(image)
    return image


async def build(draft: Path, wanted: Recipe, sources: Sources) -> None:
    """Fill `<draft>/root`. The scripts mount in a namespace of their own, so no mount survives them."""
    env = {
        "PACKAGES": " ".join(wanted.packages),
        "PARTS": " ".join(wanted.parts),
        "SUITE": wanted.suite,
        "DRAFT": str(draft),
    }
    if wanted.base:
        env["LOWER"] = ":".join(str(layer) for layer in layers(folder(draft.parent.parent, wanted.base)))
        script = SCRIPTS / "image-tier.sh"
    else:
        env["SOURCES"] = "\n".join(sources.lines(wanted.suite))
        script = SCRIPTS / "image-base.sh"
    await run("unshare", "--mount", "--propagation", "private", "sh", "-eu", script, env=env)


async def discard(path: Path) -> None:
    """Remove a folder of root-owned files, if it is there."""
    if path.exists():
        await run("rm", "-rf", "--one-file-system", "--", path)
    if path.exists():
        shutil.rmtree(path)
