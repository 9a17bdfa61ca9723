# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs that every CRM plug-in of Jinku answers (contract.yaml), for Tryton. Each prints one JSON object.

- ``jinku-crm health``: exit code 0 when application and database answer
- ``jinku-crm users``: who can log in, with which groups
- ``jinku-crm export CODE``: everything that is kept of one party
- ``jinku-crm erase CODE``: erase a party, which must be inactive, and the files that nothing refers to any more
- ``jinku-crm attachments [--sweep]``: files that nothing refers to; --sweep deletes them
- ``jinku-crm unenrol LOGIN``: forget a person's second factor, so that a new one is set up at the next login
"""

import argparse
import json
import ssl
import sys
import syslog
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from jinku_crm.settings import Settings, use_tryton_configuration

TLS = Path("/etc/jinku/tls")
#: A file is written before the record that refers to it is committed: younger ones are left alone.
SETTLED_SECONDS = 3600
#: (model, path to the party) of what is kept of a person beside the party itself
SUBJECT_DATA = (
    ("party.address", "party"),
    ("party.contact_mechanism", "party"),
    ("party.identifier", "party"),
    ("sale.opportunity", "party"),
    ("sale.sale", "party"),
    ("account.invoice", "party"),
)


def main(argv: list[str] | None = None) -> None:
    """Entry point; exits with 1 and ``{"error": ...}`` when the verb cannot be done."""
    parser = argparse.ArgumentParser(prog="jinku-crm", description="the verbs of the CRM plug-in's contract")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("health", "users"):
        verbs.add_parser(name)
    for name in ("export", "erase"):
        verbs.add_parser(name).add_argument("code", help="code of the party")
    verbs.add_parser("unenrol").add_argument("login", help="the person's login name")
    verbs.add_parser("attachments").add_argument("--sweep", action="store_true", help="delete them")
    arguments = parser.parse_args(argv)
    settings = Settings.load()
    use_tryton_configuration(settings.database)
    known: dict[str, Callable[[], dict[str, Any]]] = {
        "health": health,
        "users": lambda: users(settings),
        "export": lambda: export(settings, arguments.code),
        "erase": lambda: erase(settings, arguments.code),
        "attachments": lambda: attachments(settings, sweep=arguments.sweep),
        "unenrol": lambda: unenrol(settings, arguments.login),
    }
    from trytond.exceptions import UserError

    try:
        answer = known[arguments.verb]()
    except UserError as error:
        answer = {"error": error.message}
    except (LookupError, ValueError) as error:
        answer = {"error": str(error)}
    print(json.dumps({"schema": f"jinku/crm-{arguments.verb}/1", **answer}, ensure_ascii=False, default=str))
    sys.exit(1 if "error" in answer else 0)


def health() -> dict[str, Any]:
    """Ask the running application, over TLS with this host's certificate."""
    from trytond.config import config

    context = ssl.create_default_context(cafile=str(TLS / "ca.pem"))
    context.load_cert_chain(TLS / "host.pem", TLS / "host.key")
    try:
        with urllib.request.urlopen(config.get("jinku", "health"), context=context, timeout=10) as response:  # noqa: S310  from our file
            return {key: value for key, value in json.load(response).items() if key != "schema"}
    except urllib.error.HTTPError as error:
        return {"error": f"the application answers {error.code}: {error.read(400).decode(errors='replace')}"}
    except OSError as error:
        return {"error": f"the application does not answer: {error}"}


def users(settings: Settings) -> dict[str, Any]:
    """Accounts: login, name, active, groups, whether the password is temporary, until when it is good, whether there is a second factor."""
    from jinku_crm import pool

    def work(objects: Any) -> list[dict[str, Any]]:
        from trytond.transaction import inactive_records

        with inactive_records():
            found = objects.get("res.user").search([("login", "!=", "root")], order=[("login", "ASC")])
            return [_account(user) for user in found]

    return {"users": pool.run(settings.database, work, readonly=True)}


def _account(user: Any) -> dict[str, Any]:
    return {
        "login": user.login,
        "name": user.name,
        "active": user.active,
        "groups": sorted(group.name for group in user.groups),
        "password_temporary": bool(user.password_temporary),
        "password_until": user.password_until,
        "second_factor": user.second_factor,
    }


def unenrol(settings: Settings, login: str) -> dict[str, Any]:
    """Forget a person's second factor and end their sessions; recorded in the journal. Raises LookupError when nobody has that login."""
    from jinku_crm import pool

    def work(objects: Any) -> int:
        accounts = objects.get("res.user")
        found = accounts.search([("login", "=", login), ("login", "!=", "root")])
        if not found:
            raise LookupError(f"{login}: nobody who may log in has this name")
        accounts.reset_second_factor(found)
        return int(found[0].id)

    number = pool.run(settings.database, work)
    syslog.openlog("jinku-crm", facility=syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_WARNING, f"second factor of user {number} was reset on the host")
    return {"unenrolled": login}


def export(settings: Settings, code: str) -> dict[str, Any]:
    """All that is kept of one party. Raises LookupError when there is no such party."""
    from jinku_crm import pool

    def work(objects: Any) -> dict[str, Any]:
        party = _party(objects, code)
        data = {name: _records(objects, name, [(path, "=", party.id)]) for name, path in SUBJECT_DATA}
        references = [
            f"party.party,{party.id}",
            *(f"{name},{record['id']}" for name, records in data.items() for record in records),
        ]
        files = objects.get("ir.attachment").search([("resource", "in", references)])
        return {
            "party": _records(objects, "party.party", [("id", "=", party.id)])[0],
            "records": data,
            "notes": _records(objects, "ir.note", [("resource", "in", references)]),
            "attachments": [
                {"name": file.name, "bytes": file.data_size, "resource": str(file.resource)} for file in files
            ],
        }

    return pool.run(settings.database, work, readonly=True)


def erase(settings: Settings, code: str) -> dict[str, Any]:
    """Erase a party by Tryton's own wizard, then the files that it leaves.

    Raises LookupError, ValueError when still active, and Tryton's UserError when something is still to be done with the party.
    """
    from jinku_crm import pool

    def work(objects: Any) -> set[str]:
        party = _party(objects, code)
        if party.active:
            raise ValueError(f"{code}: the party is active; deactivate it in the CRM first")
        before = {name for names in _file_ids(objects) for name in names}
        wizard_class = objects.get("party.erase", type="wizard")
        session, _, _ = wizard_class.create()
        wizard = wizard_class(session)
        wizard.ask.party = party
        wizard.transition_erase()
        wizard_class.delete(session)
        return before

    had_a_record = pool.run(settings.database, work)
    return {"erased": code, **attachments(settings, sweep=True, settled=had_a_record)}


def attachments(settings: Settings, *, sweep: bool, settled: AbstractSet[str] = frozenset()) -> dict[str, Any]:
    """Files of the file store that no record refers to; ``sweep`` deletes them. ``settled``: ids that are looked at whatever their age."""
    from trytond.config import config

    from jinku_crm import pool

    root = Path(config.get("database", "path")) / settings.database

    def work(objects: Any) -> list[Path]:
        stored = [path for path in root.rglob("*") if path.is_file()]
        young = {
            path for path in stored if time.time() - path.stat().st_mtime < SETTLED_SECONDS and path.name not in settled
        }
        used = {name for names in _file_ids(objects) for name in names}
        return sorted(path for path in stored if path not in young and path.name not in used)

    lost = pool.run(settings.database, work, readonly=True)
    if sweep:
        for path in lost:
            path.unlink()
    return {"unreferenced": [path.name for path in lost], "deleted": len(lost) if sweep else 0}


def _party(objects: Any, code: str) -> Any:
    from trytond.transaction import inactive_records

    with inactive_records():
        found = objects.get("party.party").search([("code", "=", code)])
    if not found:
        raise LookupError(f"{code}: no party has this code")
    return found[0]


def _records(objects: Any, name: str, domain: list[Any]) -> list[dict[str, Any]]:
    """Stored, readable fields of what the domain finds, inactive records too; binary contents left out."""
    from trytond.transaction import inactive_records

    model = objects.get(name)
    plain = ("binary", "one2many", "many2many", "one2one")
    fields = model._fields.items()
    wanted = [key for key, field in fields if field._type not in plain and not hasattr(field, "getter")]  # noqa: SLF001  Tryton's
    with inactive_records():
        return [dict(row) for row in model.read([record.id for record in model.search(domain)], wanted)]


def _file_ids(objects: Any) -> Iterator[set[str]]:
    """The file ids of each model that keeps files outside the database."""
    from trytond.transaction import Transaction

    for _, model in objects.iterobject():
        columns = [field.file_id for field in getattr(model, "_fields", {}).values() if getattr(field, "file_id", None)]
        for column in columns:
            table = model.__table__()
            cursor = Transaction().connection.cursor()
            cursor.execute(*table.select(getattr(table, column), where=getattr(table, column) != None))  # noqa: E711  SQL
            yield {name for (name,) in cursor}


if __name__ == "__main__":
    main()
