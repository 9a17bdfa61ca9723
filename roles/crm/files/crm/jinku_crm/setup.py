# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the CRM's database to what the role wants; does nothing when it is there. Run as the CRM's own account.

    python3 -m jinku_crm.setup [--check] [--new] [--issued TIME] [--first-login]

Prints one JSON object: ``changes``, a list of what was (with --check: would be) done; ``stop``, whether the servers must stand still
meanwhile; ``first_login_due``, whether the administrator still needs a one-time password and the one that ends at TIME (RFC 3339) is
not it, or is over; ``first_login``, with --first-login only: the one-time password, made anew, or null when the administrator has
chosen an own one. With --new, only a database in which no module is activated yet is touched: servers may be running on another one.

One at a time: whoever else changes the same database waits for a lock in it, and then finds everything there.
"""

import argparse
import contextlib
import datetime as dt
import hashlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from jinku_crm import password
from jinku_crm.settings import CONFIGURATION, Settings, use_tryton_configuration

LOCK = "SELECT pg_advisory_lock(hashtext('jinku_crm.setup'))"
STAMP = "jinku:"  # the comment of schema public begins so: what was set up travels with every dump of the database
ADMINISTRATOR = "admin"
_FIRST_LOGIN = """
    SELECT to_char(password_until, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') FROM res_user WHERE login = %s AND password_temporary
"""
ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # of one-time passwords: nothing that is misread


def main(argv: list[str] | None = None) -> None:
    """Entry point; raises SystemExit with a message when a step fails."""
    arguments = _arguments(argv)
    settings = Settings.load()
    use_tryton_configuration(settings.database)
    with contextlib.nullcontext() if arguments.check else _locked(settings.database):
        answer = _bring(settings, arguments)
    print(json.dumps(answer))


def _bring(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Do what is to be done, and return what `main` prints."""
    wanted, found = _wanted(settings), _found(settings.database)
    changes = [step for step in ("modules", "company") if found.get(step) != wanted[step]]
    if not set(settings.modules) <= found["activated"] and "modules" not in changes:
        changes.insert(0, "modules")
    if arguments.new and found["activated"]:
        changes = []
    due = found["first_login_until"] not in (None, arguments.issued) or (found["first_login_until"] or "~") < _now()
    first_login = None
    if not arguments.check:
        with contextlib.redirect_stdout(sys.stderr):
            if "modules" in changes:
                _update_modules(settings, new=not found["activated"])
                if "modules" not in found:  # a new database, or one whose first set-up was cut short
                    _lock_administrator(settings)
                if "zh_CN" in settings.languages:
                    _fill_in_chinese(settings)
                found["modules"] = wanted["modules"]
                _stamp(settings.database, found)
            if "company" in changes:
                _set_up_company(settings)
                _stamp(settings.database, wanted)
            if arguments.first_login:
                first_login = _first_login(settings)
        if first_login:
            changes.append("one-time password of the administrator")
    answer = {"changes": changes, "stop": "modules" in changes and bool(found["activated"]), "first_login_due": due}
    return {**answer, "first_login": first_login}


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="jinku_crm.setup", description="brings the CRM's database to what the role wants"
    )
    parser.add_argument("--issued", default="", metavar="TIME", help="end of the one-time password that was given out")
    parser.add_argument("--check", action="store_true", help="say what would be done")
    parser.add_argument("--new", action="store_true", help="only in a database in which no module is activated yet")
    parser.add_argument(
        "--first-login", action="store_true", help="make a one-time password, unless the administrator has an own one"
    )
    return parser.parse_args(argv)


def _wanted(settings: Settings) -> dict[str, str]:
    """Digests of what the data depends on: the modules' packages and languages, and the company's settings."""
    names = ("trytond", *(f"trytond_{name}" for name in settings.modules if not name.startswith("jinku_")))
    versions = [(name, distribution(name).version) for name in names]
    here = Path(__file__).parents[1]
    own = sorted(
        (path.name, path.read_bytes())
        for path in (*here.glob("trytond_jinku_*/**/*"), *here.glob("*.po"))
        if path.is_file()
    )
    modules = repr((versions, settings.modules, sorted(settings.languages), own))
    company = repr((settings.company, settings.languages, settings.timezone, settings.demo_data))
    return {
        name: hashlib.sha256(text.encode()).hexdigest()[:16]
        for name, text in (("modules", modules), ("company", company))
    }


def _connect(database: str) -> Any:
    from trytond.backend.postgresql import Database

    return password.connect(**Database._connection_params(database))  # noqa: SLF001  Tryton's own way to connect


@contextlib.contextmanager
def _locked(database: str) -> Iterator[None]:
    """Hold the lock of the set-up. It is the connection's, so it ends with this program, however that ends."""
    connection = _connect(database)
    connection.autocommit = True  # a transaction that only waits would be ended by the server
    try:
        with connection.cursor() as cursor:
            cursor.execute(LOCK)
        yield
    finally:
        connection.close()


def _found(database: str) -> dict[str, Any]:
    """What the database says of itself: the stamp's digests, ``activated``, the set of modules, and until when a one-time password is good."""
    connection = _connect(database)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT obj_description('public'::regnamespace, 'pg_namespace'), to_regclass('ir_module') IS NOT NULL"
            )
            comment, exists = cursor.fetchone()
            activated, until = set(), None
            if exists:
                cursor.execute("SELECT name FROM ir_module WHERE state = 'activated'")
                activated = {name for (name,) in cursor}
            if "jinku_login" in activated:
                cursor.execute(_FIRST_LOGIN, (ADMINISTRATOR,))
                until = next((until for (until,) in cursor), None)
    finally:
        connection.close()
    stamp = json.loads(comment[len(STAMP) :]) if comment and comment.startswith(STAMP) else {}
    return {**stamp, "activated": activated, "first_login_until": until}


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _stamp(database: str, digests: dict[str, Any]) -> None:
    connection = _connect(database)
    stamp = {name: digests[name] for name in ("modules", "company") if name in digests}
    with connection, connection.cursor() as cursor:
        cursor.execute("COMMENT ON SCHEMA public IS %s", (STAMP + json.dumps(stamp),))
    connection.close()


def _update_modules(settings: Settings, *, new: bool) -> None:
    """Run Tryton's own tool. Its exit code is not believed: the module list of the database is.

    With `clean_timeout = 0` a listener refreshes the module list while the tool changes it, and the tool dies: so not here.
    """
    languages = ["-l", *sorted({"en", *settings.languages})]
    environment = {**os.environ, "PGOPTIONS": "-c synchronous_commit=off"}  # the stamp's commit is a full one
    with tempfile.TemporaryDirectory(prefix="jinku-crm-", dir="/dev/shm") as folder:  # memory, 0700
        override, password = Path(folder, "override.conf"), Path(folder, "password")
        override.write_text("[cache]\nclean_timeout = 300\n", encoding="utf-8")
        password.write_text(secrets.token_urlsafe(24), encoding="utf-8")  # nobody learns it
        tool = ["trytond-admin", "-c", CONFIGURATION, str(override), "-d", settings.database, *languages]
        if new:
            first = [*tool, "-u", "ir", "res", "--email", f"{ADMINISTRATOR}@{settings.domain}"]
            _run(first, {**environment, "TRYTONPASSFILE": str(password)})
        update = settings.modules if new else ("ir", "res", *settings.modules)
        output = _run([*tool, "-m", "-u", *update, "--activate-dependencies"], environment)
    missing = sorted(set(settings.modules) - _found(settings.database)["activated"])
    if missing:
        raise SystemExit(f"trytond-admin: {', '.join(missing)}: not activated; its last words:\n{output[-2000:]}")


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def _set_up_company(settings: Settings) -> None:
    from jinku_crm import company, demonstration, pool

    def work(objects: Any) -> None:
        company.set_up(objects, settings)
        if settings.demo_data:
            demonstration.fill(objects)

    pool.run(settings.database, work)


def _fill_in_chinese(settings: Settings) -> None:
    from jinku_crm import language, pool

    pool.run(settings.database, language.fill_in)


def _lock_administrator(settings: Settings) -> None:
    """Give the administrator a temporary password that nobody learns: Tryton's tool set one before our module was there."""
    from jinku_crm import pool

    def work(objects: Any) -> None:
        User = objects.get("res.user")
        User.write(User.search([("login", "=", ADMINISTRATOR)]), {"password": secrets.token_urlsafe(24)})

    pool.run(settings.database, work)


def _first_login(settings: Settings) -> dict[str, str] | None:
    """Make a one-time password, unless the administrator has an own one."""
    from jinku_crm import pool

    groups = ["".join(secrets.choice(ALPHABET) for _ in range(5)) for _ in range(4)]

    def work(objects: Any) -> dict[str, str] | None:
        User = objects.get("res.user")
        user = User.search([("login", "=", ADMINISTRATOR)])[0]
        if not user.password_temporary:
            return None
        User.write([user], {"password": "-".join(groups)})
        user = User(user.id)
        return {
            "login": ADMINISTRATOR,
            "password": "-".join(groups),
            "expires": f"{user.password_until:%Y-%m-%dT%H:%M:%SZ}",
        }

    return pool.run(settings.database, work)


if __name__ == "__main__":
    main()
