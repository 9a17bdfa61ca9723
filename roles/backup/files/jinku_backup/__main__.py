# SPDX-License-Identifier: Apache-2.0
"""The verbs of ``jinku-backup``."""

import argparse
import json
import sys

from jinku_backup import copies, health, restore, stream
from jinku_backup.places import BackupError


def parser():
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="jinku-backup", description="Fetches, keeps and restores copies of the environment."
    )
    verbs = top.add_subparsers(dest="verb", required=True)
    verbs.add_parser("prepare", help="make the repositories where they are missing; say what was made")
    run = verbs.add_parser("run", help="make one copy now")
    run.add_argument("kind", choices=sorted(copies.KINDS))
    verbs.add_parser("receive", help="receive the database's log of changes (a service)")
    verbs.add_parser("anew", help="give up what lies before a lost slot: receive from now on, and make a whole copy")
    verbs.add_parser("archive", help="move received segments into the repository (a service)")
    verbs.add_parser("health", help="ask how old the copies are; write it down for the monitor")
    verbs.add_parser("missing", help="print the kinds of which there is no copy")
    verbs.add_parser("list", help="print what can be restored, as JSON")
    one = verbs.add_parser(
        "restore", help="open a copy of the database beside the repository, with attachments and vault"
    )
    one.add_argument("--to", metavar="TIME", help="a moment, RFC 3339; without it the newest")
    one.add_argument(
        "--key-stdin", action="store_true", help="take the key of the backups from standard input (escrow)"
    )
    one.add_argument("--beside-none", action="store_true", help="refuse where a restored copy lies already")
    verbs.add_parser("discard", help="remove the restored copy")
    wal = verbs.add_parser("wal", help="for the restored copy: fetch one segment")
    wal.add_argument("name")
    wal.add_argument("target")
    return top


def main():
    """Run one verb; return the exit code."""
    given = parser().parse_args()
    try:
        if given.verb == "restore":
            key = sys.stdin.read() if given.key_stdin else None
            print(json.dumps(restore.restore(given.to, key, beside_none=given.beside_none), indent=1))
        elif given.verb == "list":
            print(json.dumps(restore.listed(), indent=1))
        elif given.verb == "run":
            copies.run(given.kind)
        elif given.verb == "wal":
            return stream.fetch(given.name, given.target)
        else:
            verbs = {
                "prepare": copies.prepare,
                "receive": stream.receive,
                "anew": stream.anew,
                "archive": stream.archive,
                "health": health.health,
                "missing": health.missing,
                "discard": restore.discard,
            }
            verbs[given.verb]()
    except BackupError as error:
        print(f"jinku-backup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
