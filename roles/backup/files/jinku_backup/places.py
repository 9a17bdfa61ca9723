# SPDX-License-Identifier: Apache-2.0
"""Where things lie on the backup host, and how the programs are called."""

import json
import os
import subprocess
from pathlib import Path

ETC = Path(os.environ.get("JINKU_BACKUP_ETC", "/etc/jinku/backup"))
VOLUME = Path(os.environ.get("JINKU_BACKUP_VOLUME", "/var/lib/jinku-backup"))
RUN = Path(os.environ.get("JINKU_BACKUP_RUN", "/run/jinku-backup"))
#: Where a restored copy listens: apart from RUN, for it may write here.
SOCKET = Path("/run/jinku-backup-scratch")
TLS = Path("/etc/jinku/tls")
WAL = VOLUME / "wal"
RESTIC = VOLUME / "restic"
STATE = VOLUME / "state"
SCRATCH = VOLUME / "scratch"
ACCOUNT = "jinku-backup"
STANZA = "main"


#: What pgBackRest and restic say to a key that does not open the repository.
WRONG_KEY = ("cipher header invalid", "wrong password", "unable to flush", "FormatError", "CryptoError")


class BackupError(Exception):
    """What went wrong, in one line that says what would be right."""


def settings():
    """Return the settings that the role ships."""
    return json.loads((ETC / "settings.json").read_text())


def keys():
    """Return the folder with the key of the backups: one that was handed in for a restore, else the agent's.

    Raises BackupError when there is none.
    """
    given = RUN / "keys"
    folder = given if given.is_dir() else ETC / "keys"
    for name in ("pgbackrest.conf", "restic"):
        if not (folder / name).is_file() or not (folder / name).read_text().strip():
            raise BackupError(
                f"{folder / name}: key: is missing; the agent writes it from the vault (journalctl -u jinku-agent), "
                "or `jinku restore --key` takes the operators' escrow"
            )
    return folder


def account():
    """Return how a program is started as the backups' account, whoever asks."""
    if os.geteuid() != 0:
        return {}
    return {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": ["jinku-tls"], "umask": 0o077}


def call(arguments, **more):
    """Run a program to its end as the backups' account; return what it printed. Raises BackupError with its last words."""
    done = subprocess.run(
        arguments, capture_output=True, text=True, errors="replace", check=False, cwd="/", **account(), **more
    )
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        words = " ".join(words[-3:])
        raise BackupError(wrong_key() if is_key_trouble(words) else f"{Path(arguments[0]).name}: {words}")
    return done.stdout


def is_key_trouble(words):
    """Tell whether a program says that the key does not open the repository."""
    return any(sign in words for sign in WRONG_KEY)


def wrong_key():
    """Say that the key is not the repository's: the one that was handed in, else the one that the agent wrote."""
    if (RUN / "keys").is_dir():
        return "--key: is not the one of this repository; the escrow that `jinku up` wrote when the repository was made"
    return f"{ETC}/keys: key: is not the one of this repository; `jinku restore --key` takes the operators' escrow"


def pgbackrest(*arguments, pull=False):
    """Return the command line of pgBackRest; with ``pull`` it knows the database's hosts, else only the repository."""
    folder = RUN / ("pull" if pull else "local")
    wanted = [keys() / "pgbackrest.conf", *([ETC / "pull.conf"] if pull else [])]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() == 0:
        for one in (RUN, folder):
            os.chown(one, *_owner(), follow_symlinks=False)
    for number, target in enumerate(wanted):
        link = folder / f"{number}.conf"
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    configuration = [f"--config={ETC}/pgbackrest.conf", f"--config-include-path={folder}"]
    return ["pgbackrest", *configuration, f"--stanza={STANZA}", *arguments]


def _owner():
    found = VOLUME.stat()
    return found.st_uid, found.st_gid


def restic(*arguments):
    """Return the command line of restic on the repository."""
    quiet = ["--quiet", "--no-cache", "--retry-lock=5m"]
    return ["restic", f"--repo={RESTIC}", f"--password-file={keys()}/restic", *quiet, *arguments]


def note(kind, **what):
    """Keep what the health report tells of a kind; written whole or not at all."""
    STATE.mkdir(mode=0o700, exist_ok=True)
    scratch = STATE / f".{kind}.new"
    # The folder is the account's: root follows no link that lies there.
    scratch.unlink(missing_ok=True)
    with scratch.open("x") as stream:
        stream.write(json.dumps(what) + "\n")
    if os.geteuid() == 0:
        for one in (STATE, scratch):
            os.chown(one, *_owner(), follow_symlinks=False)
    scratch.rename(STATE / f"{kind}.json")


def noted(kind):
    """Return what was kept of a kind, empty when nothing was."""
    try:
        return json.loads((STATE / f"{kind}.json").read_text())
    except (OSError, ValueError):
        return {}
