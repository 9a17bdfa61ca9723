# SPDX-License-Identifier: Apache-2.0
"""What makes one host that host, written into its upper layer before it boots, as cloud-init would do on a cloud."""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .mirror import PORT
from .process import run

if TYPE_CHECKING:
    from .hosts import Host

HOST_KEY = Path("etc/ssh/ssh_host_ed25519_key")


def below(layers: Sequence[Path], path: Path) -> Path | None:
    """A path as the image has it, from its uppermost layer that does."""
    return next((layer / path for layer in layers if (layer / path).exists()), None)


class ForeignLinkError(Exception):
    """Below a host's layer something stands where a folder should; written through it, a file would land anywhere."""


def _open_folder(upper: Path, path: Path, make: Callable[[Path, int], None] | None = None) -> int:
    """Open a folder below the upper layer, as a descriptor. The host itself may write there, so no link is followed.

    ``make``: makes what is missing, from its path and its parent's descriptor. :raises FileNotFoundError: it is missing.
    :raises ForeignLinkError: a part of the path is no folder.
    """
    descriptor = os.open(upper, os.O_RDONLY | os.O_DIRECTORY)
    for part in reversed([path, *path.parents][:-1]):
        above = descriptor
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    make(part, above)
            descriptor = _folder_in(above, part.name)
        except NotADirectoryError as error:
            raise ForeignLinkError(
                f"{upper / part}: is no folder; the host has put something else there; look at it"
            ) from error
        finally:
            os.close(above)
    return descriptor


def _folder_in(above: int, name: str) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)


def _as_in(layers: Sequence[Path]) -> Callable[[Path, int], None]:
    """Makes a folder with owner and mode as in the image, or root and 0755."""

    def make(path: Path, above: int) -> None:
        os.mkdir(path.name, mode=0o700, dir_fd=above)
        model = below(layers, path)
        found = model.stat() if model else None
        made = _folder_in(above, path.name)
        try:
            os.fchown(made, *((found.st_uid, found.st_gid) if found else (0, 0)))
            os.fchmod(made, found.st_mode & 0o7777 if found else 0o755)
        finally:
            os.close(made)

    return make


def place(upper: Path, layers: Sequence[Path], path: Path, text: str, mode: int = 0o644, owner: str = "root") -> None:
    """Write a file into the upper layer. Folders above it get owner and mode as in the image, or root and 0755.

    path: relative to the root. owner: an account of the image; the file belongs to it and its group.

    :raises ForeignLinkError: a part of the path is no folder.
    """
    folder = _open_folder(upper, path.parent, _as_in(layers))
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=folder)
        descriptor = os.open(path.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode, dir_fd=folder)
    finally:
        os.close(folder)
    with os.fdopen(descriptor, "w") as file:
        os.fchown(descriptor, *account(layers, owner))
        os.fchmod(descriptor, mode)
        file.write(text)


def account(layers: Sequence[Path], name: str) -> tuple[int, int]:
    """User and group id of an account of the image. Raises KeyError if there is none of that name."""
    passwd = below(layers, Path("etc/passwd"))
    for line in passwd.read_text().splitlines() if passwd else []:
        fields = line.split(":")
        if fields[0] == name:
            return int(fields[2]), int(fields[3])
    raise KeyError(name)


def network_unit(host: "Host") -> str:
    """systemd-networkd's file: static addresses, nothing learnt from the wire."""
    lines = ["[Match]", f"Name={host.interface}", "", "[Network]", f"Address={host.address}", f"Gateway={host.gateway}"]
    if host.address6:
        lines += [f"Gateway={host.gateway6}"] if host.gateway6 else []
    lines += ["DHCP=no", "IPv6AcceptRA=no", "LinkLocalAddressing=ipv6", "LLMNR=no", "MulticastDNS=no"]
    if host.address6:
        lines += ["", "[Address]", f"Address={host.address6}", "DuplicateAddressDetection=none"]
    return "\n".join(lines) + "\n"


async def write(upper: Path, layers: Sequence[Path], host: "Host", machine_id: str) -> None:
    """Write a new host's identity: machine id (32 hexadecimal digits), name, addresses, SSH host key, ways in and out."""
    place(upper, layers, Path("etc/machine-id"), machine_id + "\n", 0o444)
    place(upper, layers, Path("etc/hostname"), host.name + "\n")
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    addresses = [address.partition("/")[0] for address in (host.address, host.address6) if address]
    lines += [f"{address} {host.fqdn} {host.name}" for address in addresses]
    place(upper, layers, Path("etc/hosts"), "\n".join(lines) + "\n")
    place(upper, layers, Path(f"etc/systemd/network/10-{host.interface}.network"), network_unit(host))
    place(upper, layers, HOST_KEY, "", 0o600)
    (upper / HOST_KEY).unlink()  # only its folder was wanted: ssh-keygen overwrites nothing
    await run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"root@{host.fqdn}", "-f", upper / HOST_KEY)
    await write_access(upper, layers, host)


async def write_access(upper: Path, layers: Sequence[Path], host: "Host") -> None:
    """Write what may change in a host's life: the automation account's key and the package mirror."""
    keys = Path("home/automation/.ssh/authorized_keys")
    place(upper, layers, keys, host.automation_key.strip() + "\n", 0o600, "automation")
    folder = _open_folder(upper, keys.parent)
    try:
        os.fchown(folder, *account(layers, "automation"))
        os.fchmod(folder, 0o700)
    finally:
        os.close(folder)
    options = {f"Acquire::{scheme}::Proxy": proxy(host.mirror) for scheme in ("http", "https")} if host.mirror else {}
    options |= (
        {"Acquire::http::Pipeline-Depth": "0"} if host.mirror else {}
    )  # proxy.py does not pipeline: 10 s lost each time
    text = "".join(f'{name} "{value}";\n' for name, value in options.items())
    place(upper, layers, Path("etc/apt/apt.conf.d/80jinku-mirror"), text)


def proxy(mirror: str) -> str:
    """URL of the apt proxy, from its URL or its bare address."""
    if "://" in mirror:
        return mirror
    return f"http://[{mirror}]:{PORT}" if ":" in mirror else f"http://{mirror}:{PORT}"


def public_key(upper: Path) -> str:
    """The host's public SSH key, `ssh-ed25519 AAAA...`; "" if it is gone, or something else stands in its place."""
    path = HOST_KEY.with_suffix(".pub")
    try:
        folder = _open_folder(upper, path.parent)
        try:
            descriptor = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
    except (OSError, ForeignLinkError):
        return ""
    with os.fdopen(descriptor) as file:
        return " ".join(file.read().split()[:2])
