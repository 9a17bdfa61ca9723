# SPDX-License-Identifier: Apache-2.0
"""A whole disk as LUKS2 (dm-crypt, AES-256-XTS). What is needed to have its key unwrapped lies as a token in its own header.

The key passes to cryptsetup on standard input. It is 32 random bytes, so nothing is gained by stretching it: PBKDF2, few rounds.
"""

import contextlib
import json
import os
import stat
import subprocess
from pathlib import Path

TYPE, SLOT = "jinku", "0"  # of the token; the key's slot and the token's number are the same
LABEL = 16  # bytes of a volume's name that ext4 and Jinku's first contact put into a label
BEGINNING = 1 << 20  # bytes that must be zero on a disk that is taken as empty
CIPHER = "aes-xts-plain64"
SYSTEM = Path("/sys")


class Refused(Exception):
    """A volume cannot be opened or encrypted; the text says why and what to do."""


def run(*command, given=None):
    """Run a command that must succeed; return its output, bytes."""
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    if done.returncode:
        raise Refused(f"{' '.join(command[:2])}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def possible():
    """Whether this kernel maps disks: not in a container, and with dm-crypt."""
    container = subprocess.run(["systemd-detect-virt", "--quiet", "--container"], check=False).returncode == 0
    return not container and subprocess.run(["modprobe", "--quiet", "dm_crypt"], check=False).returncode == 0


def held(device):
    """What a disk holds, as blkid calls it; empty for nothing that blkid knows."""
    told = ["blkid", "-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "value", device]
    return subprocess.run(told, capture_output=True, text=True, check=False).stdout.strip().replace("\n", ", ")


def label(device):
    """The label of what a disk holds."""
    told = ["blkid", "-p", "-s", "LABEL", "-o", "value", device]
    return subprocess.run(told, capture_output=True, text=True, check=False).stdout.strip()


def short(name):
    """A volume's name as labels have it."""
    return name.encode()[:LABEL].decode(errors="ignore")


def token(device, name):
    """The words of a volume's token; empty where the disk is no LUKS2 or has no token of this volume."""
    if held(device) != "crypto_LUKS":
        return {}
    told = ["cryptsetup", "luksDump", "--dump-json-metadata", device]
    done = subprocess.run(told, capture_output=True, check=False)
    tokens = json.loads(done.stdout)["tokens"] if done.returncode == 0 else {}
    ours = [one for one in tokens.values() if one["type"] == TYPE and one.get("volume") == name]
    return {key: value for key, value in ours[0].items() if key not in ("type", "keyslots")} if ours else {}


def tell(device, told, *options):
    """Write the token, in place of the one before."""
    words = json.dumps({"type": TYPE, "keyslots": [SLOT], **told}).encode()
    run("cryptsetup", "token", "import", *options, "--token-id", SLOT, "--json-file", "-", device, given=words)


def check_block(device):
    """Refuse what is no block device."""
    with contextlib.suppress(OSError):
        if stat.S_ISBLK(Path(device).stat().st_mode):
            return
    raise Refused(f"{device} is no block device of this host; another name in existing.disks (`lsblk`)")


def check_empty(device):
    """Refuse a disk on which anything is; nothing of it is touched."""
    check_block(device)
    try:
        descriptor = os.open(device, os.O_RDONLY | os.O_EXCL)  # EBUSY: mounted, or a part of something
    except OSError as error:
        raise Refused(
            f"{device} is in use ({error.strerror}: mounted, or a part of a RAID or LVM); another disk"
        ) from error
    with os.fdopen(descriptor, "rb") as stream:
        beginning = stream.read(BEGINNING)
    if kind := held(device) or ("something" if any(beginning) else ""):
        raise Refused(
            f"{device} holds {kind}, which Jinku has not made; an empty disk (`wipefs -a` if nobody needs it)"
        )
    parts = run("lsblk", "--noheadings", "--list", "--output", "NAME", device).split()
    if len(parts) > 1:
        raise Refused(f"{device} has the parts {', '.join(part.decode() for part in parts[1:])}; an empty disk")


def make(device, name, key, told, scratch):
    """Write a header with key and token. It is made in a file, so that no disk ever has a header without its token.

    scratch: a folder in memory; what lies there meanwhile holds no key but the wrapped one.
    """
    draft, whole = scratch / f"{name}.draft", scratch / f"{name}.header"
    try:
        for path in (draft, whole):
            path.unlink(missing_ok=True)
        with draft.open("xb") as stream:
            stream.truncate(32 << 20)
        sort = ("--type", "luks2", "--cipher", CIPHER, "--key-size", "512", "--hash", "sha256", "--sector-size", "512")
        rounds = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-slot", SLOT)
        words = (*sort, *rounds, "--label", short(name), "--key-file", "-", str(draft))
        run("cryptsetup", "luksFormat", "--batch-mode", *words, given=key)
        tell(str(draft), told)
        run("cryptsetup", "luksHeaderBackup", "--header-backup-file", str(whole), str(draft))
        run("cryptsetup", "luksHeaderRestore", "--batch-mode", "--header-backup-file", str(whole), device)
    finally:
        for path in (draft, whole):
            path.unlink(missing_ok=True)


def uuid(device):
    """The UUID of a LUKS header."""
    return run("cryptsetup", "luksUUID", device).decode().strip()


def fits(device, key):
    """Whether a key opens a disk."""
    told = ["cryptsetup", "open", "--type", "luks2", "--test-passphrase", "--key-file", "-", device]
    return subprocess.run(told, input=key, capture_output=True, check=False).returncode == 0


def mapper(name):
    """Where an open volume's clear text is to be had, as a block device."""
    return Path(f"/dev/mapper/jinku-{name}")


def is_open(device, name):
    """Whether the kernel maps this very disk, by dm-crypt."""
    if not mapper(name).exists():
        return False
    block = SYSTEM / "class/block" / mapper(name).resolve().name
    below = {one.name for one in (block / "slaves").iterdir()}
    kind = (block / "dm/uuid").read_text().strip()
    if below != {Path(device).resolve().name} or not kind.startswith("CRYPT-LUKS2-"):
        raise Refused(f"{mapper(name)} is there, and is not {device} opened as LUKS2; `dmsetup remove jinku-{name}`")
    return True


def open_(device, name, key):
    """Have the kernel map a disk. Refused for a key that does not open it."""
    run("cryptsetup", "open", "--type", "luks2", "--key-file", "-", device, mapper(name).name, given=key)


def close(name):
    """Take the mapping and the key out of the kernel."""
    run("cryptsetup", "close", mapper(name).name)
