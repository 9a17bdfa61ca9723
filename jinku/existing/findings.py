# SPDX-License-Identifier: Apache-2.0
"""What each host that exists lacks: one look over SSH, judged here. Nothing on the hosts is changed."""

import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from jinku.doctor import Finding, Level
from jinku.existing import host_keys
from jinku.existing.ways import Answer, Trouble, Ways, ways
from jinku.model import Node, Topology
from jinku.model.networks import Volume
from jinku.model.topology import MIRROR, PACKAGES, TIME
from jinku.places import Places

RELEASE = "debian 13"
ARCHITECTURES = ("amd64", "arm64")
NEEDED_DISK_GIB = 4
"""Free space on the root file system for the packages and what the host writes of itself, GiB."""
NEEDED_MEMORY_GIB = 1
PYTHON = (3, 11)
CLOCK_SECONDS = 60
"""Certificates are valid from the moment they are made: a clock that is late refuses them."""
_GIB = 2**30
_LOOK = Path(__file__).parent / "look.sh"


def look(topology: Topology, places: Places, folder: Path, nodes: list[Node]) -> list[Finding]:
    """Look at hosts side by side.

    :param folder: of environment.yaml.
    :returns: findings, host by host in the order of ``nodes``.
    """
    with ways(topology, places, folder) as found:
        return look_by(found, nodes)


def look_by(found: Ways, nodes: list[Node]) -> list[Finding]:
    """The same, by ways that are there already."""
    text, begun = _LOOK.read_text(), time.time()
    answers = found.all(nodes, lambda node: (command(found.topology, node), text))
    return [
        finding for node in nodes for finding in judge(found.topology, node, answers[node.name], begun, time.time())
    ]


def command(topology: Topology, node: Node) -> str:
    """The command line that reads look.sh from its standard input."""
    mirror = next((network.network_address for network in topology.outside[MIRROR]), None)
    address = f"[{mirror}]" if mirror and mirror.version == 6 else str(mirror)
    clocks = " ".join(str(network.network_address) for network in topology.outside[TIME])
    disks = topology.env.existing.disks
    volumes = "\n".join(
        f"{one.name} {one.mount} {disks[one.name].device if one.name in disks else ''}".strip() for one in node.volumes
    )
    return shlex.join(["sh", "-s", "--", str(node.address), f"http://{address}:{PACKAGES.port}", clocks, volumes])


def judge(topology: Topology, node: Node, answer: Answer, begun: float, ended: float) -> Iterator[Finding]:
    """Findings of one host. ``begun``, ``ended``: seconds of this machine's clock around the look. Pure."""
    if answer.trouble:
        yield _no_way(topology, node, answer)
        return
    seen: dict[str, list[str]] = {}
    for line in answer.out.splitlines():
        name, _, value = line.partition("\t")
        seen.setdefault(name, []).append(value.strip())
    fact = {name: values[-1] for name, values in seen.items()}
    if "clock" not in fact:
        text = f"{answer.user} cannot run a command: {(answer.err or answer.out).strip()[-200:]}"
        yield Finding("login", Level.MISSING, text, "a shell for that account", node.name)
        return
    yield Finding("login", Level.OK, f"as {answer.user}, by its known key", "", node.name)
    yield from _system(node, fact)
    yield from _machine(node, fact, begun, ended)
    yield from _firewalls(node, seen.get("firewall", []))
    yield from _outside(node, fact, seen.get("time", []))
    yield from _volumes(node, seen.get("volume", []), maps=fact.get("dmcrypt") == "yes")


def _no_way(topology: Topology, node: Node, answer: Answer) -> Finding:
    name, owner = node.name, topology.env.existing.user
    if answer.trouble is Trouble.KEY_UNKNOWN:
        text = f"offers {host_keys.fingerprint(answer.offered)}, which nobody has confirmed"
        remedy = f"compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host, then `jinku contact`, or addresses.{name}.fingerprint"
        return Finding("host key", Level.MISSING, text, remedy, name)
    if answer.trouble is Trouble.KEY_WRONG:
        offers = f"offers {host_keys.fingerprint(answer.offered)}, but " if answer.offered else ""
        remedy = "find out why: another machine answers, or it was installed anew; then correct the line in known_hosts or the fingerprint"
        return Finding("host key", Level.MISSING, f"has changed: {offers}{answer.err}", remedy, name)
    if answer.trouble is Trouble.NO_LOGIN:
        remedy = f"the public key in that account's authorized_keys, and `existing.key` in environment.yaml; `existing.user` is {owner}"
        return Finding("login", Level.MISSING, f"refuses {answer.user or owner}: {answer.err}", remedy, name)
    if answer.trouble is Trouble.BASTION:
        text = f"is reached through {answer.err}, to which there is no way yet"
        return Finding("bastion", Level.MISSING, text, f"what is said of {answer.err}", name)
    remedy = f"power, cable, address {node.address} and every firewall before it (`jinku flows --sheet`)"
    return Finding("reachable", Level.MISSING, answer.err, remedy, name)


def _number(text: str | None) -> int:
    """A count that a host told; 0 for whatever is none. It is somebody else's machine, and may say anything."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else 0


def _of(node: Node, what: str, good: bool, text: str, remedy: str, level: Level = Level.MISSING) -> Finding:
    return Finding(what, Level.OK if good else level, text, "" if good else remedy, node.name)


def _system(node: Node, fact: dict[str, str]) -> Iterator[Finding]:
    release, architecture = fact.get("release", ""), fact.get("architecture", "")
    yield _of(
        node, "release", release == RELEASE, release or "unknown", f"{RELEASE} (trixie), installed anew or upgraded"
    )
    good = architecture in ARCHITECTURES
    yield _of(node, "architecture", good, architecture or "unknown", f"a system of {' or '.join(ARCHITECTURES)}")
    yield _of(node, "init", fact.get("init") == "systemd", fact.get("init", ""), "systemd as its first process")
    sudo = fact.get("sudo", "")
    told = {"root": "not needed", "yes": "without a password", "missing": "is not installed"}.get(
        sudo, "asks for a password, or refuses"
    )
    remedy = "`apt-get install sudo`, and " if sudo == "missing" else ""
    remedy += "a line `ACCOUNT ALL=(ALL:ALL) NOPASSWD: ALL` in /etc/sudoers.d, or `existing.user: root`"
    yield _of(node, "sudo", sudo in {"root", "yes"}, told, remedy)
    python = fact.get("python", "")
    new = tuple(map(_number, python.split("."))) >= PYTHON
    yield _of(node, "python3", new, python or "is not installed", "`apt-get install python3`")


def _machine(node: Node, fact: dict[str, str], begun: float, ended: float) -> Iterator[Finding]:
    free, memory = _number(fact.get("disk")) / 2**20, _number(fact.get("memory")) / 2**20
    text = f"{free:.1f} GiB free on /, {NEEDED_DISK_GIB} are needed"
    yield _of(node, "disk", free >= NEEDED_DISK_GIB, text, f"free {NEEDED_DISK_GIB} GiB, or a larger disk")
    yield _of(
        node, "memory", memory >= NEEDED_MEMORY_GIB * 0.9, f"{memory:.1f} GiB", f"{NEEDED_MEMORY_GIB} GiB", Level.NOTE
    )
    clock = _number(fact["clock"])
    off = max(0.0, begun - clock - 1, clock - ended)
    text = "right" if off <= CLOCK_SECONDS else f"{off:.0f} s off this machine's"
    yield _of(
        node,
        "clock",
        off <= CLOCK_SECONDS,
        text,
        f"`timedatectl set-ntp true`, or `date --set`; at most {CLOCK_SECONDS} s",
    )
    found, links = fact.get("interface", ""), fact.get("links", "").split()
    said = f"{found or 'none'} has {node.address}; there are {', '.join(links)}"
    field = f"addresses.{node.name}.interface"
    remedy = (
        f"`{field}: {found}`, or `existing.interface`" if found else f"the address {node.address} on {node.interface}"
    )
    yield _of(node, "interface", found == node.interface, said, remedy)
    others = [link for link in links if link != found]
    if found and others:
        text = f"{', '.join(others)} beside {found}: a host has one leg, in its zone"
        yield _of(
            node, "other interfaces", False, text, "remove them; the control tests count them as findings", Level.NOTE
        )


def _firewalls(node: Node, seen: list[str]) -> Iterator[Finding]:
    remedy = "remove it (`apt-get purge ufw`, `systemctl disable --now firewalld`, `nft delete table ...`): two packet filters hide each other's mistakes"
    yield _of(node, "other firewall", not seen, ", ".join(seen) or "none", remedy)


def _outside(node: Node, fact: dict[str, str], clocks: list[str]) -> Iterator[Finding]:
    mirror = fact.get("mirror", "")
    remedy = "the flow hosts>mirror in every firewall between, the mirror's address (`outside.mirror`), and package sources that it carries"
    yield _of(
        node, "package mirror", mirror == "ok", "answers" if mirror == "ok" else mirror or "does not answer", remedy
    )
    silent = [clock for clock in clocks if not clock.endswith("answers")]
    text = f"{', '.join(silent)}: no answer" if silent else "answers"
    yield _of(node, "time server", not silent, text, "the flow hosts>ntp in every firewall between", Level.NOTE)


def _volumes(node: Node, seen: list[str], *, maps: bool) -> Iterator[Finding]:
    states = {line.split()[0]: line.split()[1:] for line in seen if line}
    for volume in node.volumes:
        told = states.get(volume.name) or ["unknown"]
        size, kind, label = [*told[1:4], "", "", ""][:3]
        yield _volume(node, volume, (told[0], size, kind, label), maps=maps)


def _volume(node: Node, volume: Volume, seen: tuple[str, str, str, str], *, maps: bool) -> Finding:
    """``seen``: how the disk is, its size in bytes, what it holds, with which label. ``maps``: the host's kernel has dm-crypt."""
    state, size, kind, label = seen
    what, field, gib = f"volume {volume.name}", f"existing.disks.{volume.name}", _number(size) / _GIB
    if state not in {"mounted", "nodevice", "holds", "empty"}:
        remedy = (
            f"a file system of {volume.size_gib} GiB mounted at {volume.mount} (and in /etc/fstab), or {field}.device"
        )
        return Finding(what, Level.MISSING, f"nothing is mounted at {volume.mount}", remedy, node.name)
    if state == "nodevice":
        text = f"{volume.device or 'its device'} is no block device of the host"
        return Finding(what, Level.MISSING, text, f"another name in {field}.device (`lsblk`)", node.name)
    if gib < volume.size_gib * 0.9:
        text = f"{gib:.1f} GiB, {volume.size_gib} are needed"
        return Finding(what, Level.MISSING, text, "a larger disk or file system", node.name)
    if state == "holds" and label != volume.name[:16]:
        text = f"{volume.device} holds {kind}, which Jinku has not made"
        return Finding(
            what, Level.MISSING, text, "an empty disk (`wipefs -a` if nobody needs it), or mount it yourself", node.name
        )
    if state == "empty" and not volume.format:
        remedy = f"`{field}.format: true`, if it may get a file system"
        return Finding(what, Level.MISSING, f"{volume.device} is empty", remedy, node.name)
    empty = "`up` encrypts it as a whole (LUKS2)" if maps else "gets a file system (this kernel has no dm-crypt)"
    told = {
        "mounted": f"mounted at {volume.mount}",
        "empty": f"empty; {empty}",
        "holds": "Jinku's own; the vault opens it" if kind == "crypto_LUKS" else "Jinku's own; gets mounted",
    }
    return Finding(what, Level.OK, f"{told[state]}, {gib:.0f} GiB", "", node.name)
