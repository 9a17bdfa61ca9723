# SPDX-License-Identifier: Apache-2.0
"""Makes the copies: the database by pgBackRest; attachments and vault as streams that restic stores encrypted."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from jinku_backup.places import (
    RESTIC,
    SCRATCH,
    TLS,
    WAL,
    BackupError,
    call,
    is_key_trouble,
    keys,
    note,
    pgbackrest,
    restic,
    settings,
    wrong_key,
)

#: What the sender of the attachments writes after a stream that is whole (roles/crm).
WHOLE = b"jinku: complete\n"
#: pgBackRest's code for a repository that it could not read.
UNREADABLE = 99
PIECE = 1 << 20
QUIET_SECONDS = 300


def prepare():
    """Make the repositories where they are missing, and print a line for each that was made."""
    keys()
    WAL.mkdir(mode=0o700, exist_ok=True)
    if not stanza():
        call(pgbackrest("--no-online", "stanza-create", pull=True))
        print("repository of the database: made")
    if not (RESTIC / "config").exists():
        call(restic("init"))
        print("repository of attachments and vault: made")


def stanza():
    """Return what pgBackRest knows of the database (its ``info``), None before there is a repository."""
    found = json.loads(call(pgbackrest("info", "--output=json")), strict=False)
    for one in found[0].get("repo", []) if found else []:
        if one["status"]["code"] == UNREADABLE:  # it ends with 0 all the same
            words = " ".join(one["status"]["message"].split())
            raise BackupError(wrong_key() if is_key_trouble(words) else f"repository of the database: {words}")
    return found[0] if found and found[0].get("db") else None


def database(kind):
    """Copy the database; pgBackRest goes on with one that broke off, and then drops what is too old."""
    call(pgbackrest(f"--type={'full' if kind == 'full' else 'incr'}", "backup", pull=True))


def attachments(_kind):
    """Copy the CRM's attachments, one stream a host."""
    made = [_stream("attachments", host) for host in settings()["attachments"]]
    _note("attachments", made)
    _forget("attachments")


def vault(_kind):
    """Copy the vault: a snapshot of its storage, which is sealed as it lies there."""
    _note("vault", [_stream("vault", "vault")])
    _forget("vault")


def _stream(kind, source):
    """Have restic store what a child prints, and return its summary; of a child that fails it stores nothing."""
    child = [sys.executable, "-B", "-m", "jinku_backup.copies", kind, source]
    name = f"--stdin-filename=/{kind}-{source}.{'tar' if kind == 'attachments' else 'snap'}"
    command = restic("backup", "--json", f"--tag={kind}", "--host=jinku", name, "--stdin-from-command", "--", *child)
    lines = call(command).splitlines()
    summary = next((json.loads(line) for line in lines if '"summary"' in line), {})
    if not summary.get("snapshot_id"):
        raise BackupError(f"{kind} of {source}: restic stored nothing; see: journalctl -u jinku-backup@{kind}")
    return summary


def _note(kind, made):
    """Note a success once every source is copied: one host's copy does not make up for another's."""
    size = sum(one["total_bytes_processed"] for one in made)
    note(kind, finished=int(time.time()), snapshots=[one["snapshot_id"] for one in made], bytes=size)


def _forget(kind):
    call(restic("forget", f"--tag={kind}", f"--keep-within={settings()['keep_days']}d", "--group-by=tags,paths"))


def verify(_kind):
    """Read every copy back and compare the sums; also what no copy refers to any more is removed."""
    told = call(pgbackrest("--output=text", "--verbose", "verify"))
    problems = [line for line in told.splitlines() if _bad(line)]
    if problems:  # pgBackRest itself ends with 0
        raise BackupError(
            f"repository of the database: {'; '.join(line.strip() for line in problems[:3])}; restore nothing from it"
        )
    call(restic("prune"))
    call(restic("check", "--read-data"))
    note("verify", finished=int(time.time()))


def _bad(line):
    """Tell whether a line of pgBackRest's verification reports damage."""
    head, _, rest = line.strip().partition(":")
    if head == "status":
        return rest.strip() != "ok"
    if "status: invalid" in line or "ERROR" in line:
        return True
    counted = ("missing", "checksum invalid", "size invalid", "other")
    return any(
        part.strip().startswith(counted) and part.rpartition(":")[2].strip() not in ("0", "")
        for part in line.split(",")
    )


KINDS = {"full": database, "incremental": database, "attachments": attachments, "vault": vault, "verify": verify}


def run(kind):
    """Make one copy of a kind."""
    keys()
    if kind != "verify":
        _room()
    KINDS[kind](kind)


def _room():
    """Refuse to begin on a volume that is nearly full: a copy that breaks off is none."""
    found = shutil.disk_usage(RESTIC.parent)
    if found.free < found.total // 20:
        raise BackupError(
            f"{RESTIC.parent}: volume: {found.free >> 20} MiB are free, less than a twentieth; enlarge it ({SCRATCH} may go)"
        )


def send_attachments(host, to):
    """Copy the stream of a host's attachments to ``to``. Raises BackupError unless it is whole."""
    context = ssl.create_default_context(cafile=str(TLS / "ca.pem"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(TLS / "host.pem", TLS / "host.key")
    held = b""
    with contextlib.ExitStack() as stack:
        try:
            plain = socket.create_connection((host, settings()["attachments_port"]), timeout=QUIET_SECONDS)
            stack.enter_context(plain)
            # Python is strict about X.509 here: the name in the certificate must be the host's.
            stream = stack.enter_context(context.wrap_socket(plain, server_hostname=host, suppress_ragged_eofs=False))
            while piece := stream.recv(PIECE):
                held += piece
                to.write(held[: -len(WHOLE)])
                held = held[-len(WHOLE) :]
        except OSError as error:
            raise BackupError(
                f"{host}: attachments: {error}; see there: journalctl -u 'jinku-attachments@*'"
            ) from error
    if held != WHOLE:
        raise BackupError(f"{host}: attachments: the stream broke off; see there: journalctl -u 'jinku-attachments@*'")
    to.flush()


def send_vault(to):
    """Log in at the vault as this host and copy a snapshot to ``to``. Raises BackupError when it refuses."""
    folder = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/etc/jinku/identity"))
    there = urlsplit(settings()["vault"])
    context = ssl.create_default_context(
        cafile=str(next(p for p in (folder / "root", folder / "root.pem") if p.exists()))
    )
    context.load_cert_chain(next(p for p in (folder / "identity", folder / "identity.pem") if p.exists()))
    line = http.client.HTTPSConnection(there.hostname, there.port, timeout=QUIET_SECONDS, context=context)

    def ask(method, path, body=None, token=None):
        line.request(method, f"/v1/{path}", body, {"X-Vault-Token": token} if token else {})
        answer = line.getresponse()
        if answer.status >= http.client.BAD_REQUEST:
            raise BackupError(
                f"{there.hostname}: {path}: {answer.status} {answer.read(300).decode(errors='replace').strip()}; is it unsealed?"
            )
        return answer

    try:
        token = json.load(ask("POST", "auth/hosts/login", json.dumps({"name": settings()["vault_role"]})))["auth"][
            "client_token"
        ]
        answer = ask("GET", "sys/storage/raft/snapshot", token=token)
        shutil.copyfileobj(answer, to, PIECE)
        ask("POST", "auth/token/revoke-self", token=token).read()
    except (OSError, http.client.HTTPException) as error:
        raise BackupError(f"{there.hostname}: snapshot: {error}; is the vault up and unsealed?") from error
    to.flush()


def main(kind, source):
    """Be the child that prints one stream; return its exit code."""
    try:
        if kind == "attachments":
            send_attachments(source, sys.stdout.buffer)
        else:
            send_vault(sys.stdout.buffer)
    except BackupError as error:
        print(f"jinku-backup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(sys.argv[1], sys.argv[2]))
