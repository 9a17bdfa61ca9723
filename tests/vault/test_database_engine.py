# SPDX-License-Identifier: Apache-2.0
"""The database engine against a real PostgreSQL: what `jinku up` sets is what the manager's policy allows, and it rotates a password."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from vault_world import World, free_port

from jinku.vault import Fleet, configure, configure_database, database, manager

pytestmark = pytest.mark.openbao

#: As roles/postgres makes it, but for what it refuses.
SET_UP = """CREATE ROLE openbao LOGIN; CREATE ROLE crm LOGIN; CREATE SCHEMA jinku; GRANT USAGE ON SCHEMA jinku TO openbao;
CREATE FUNCTION jinku.set_password(name text, verifier text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
AS $$BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', name, verifier); END$$"""


class Server:
    """A PostgreSQL in a folder of its own, with one certificate for both sides."""

    def __init__(self, tools: Path, folder: Path) -> None:
        self.tools, self.folder, self.port = tools, folder, free_port()

    def run(self, program: str, *arguments: str | Path) -> str:
        """Run one of PostgreSQL's programs as the account that may, and return what it says."""
        command: list[str | Path] = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        # into a file: the server keeps what it was started with open, so that a pipe would not end
        with tempfile.TemporaryFile("w+") as said:
            subprocess.run([*command, self.tools / program, *arguments], stdout=said, check=True, timeout=60, cwd="/")
            said.seek(0)
            return said.read().strip()

    def ask(self, sql: str) -> str:
        """Return what a statement says, by the socket."""
        return self.run("psql", "-XAtq", "-h", self.folder, "-p", str(self.port), "-d", "postgres", "-c", sql)


@pytest.fixture
def server() -> Iterator[Server]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL on this machine")
    # not in pytest's own folder, which is root's alone
    folder = Path(tempfile.mkdtemp(prefix="jinku-postgres-"))
    made = Server(found[-1].parent, folder)
    pem, key = folder / "host.pem", folder / "host.key"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-noenc",
                "-days",
                "1",
            ),
            *("-subj", "/CN=openbao", "-addext", "subjectAltName=DNS:localhost", "-out", pem, "-keyout", key),
        ],
        check=True,
        capture_output=True,
    )
    shutil.copy(pem, folder / "ca.pem")
    for path in (folder, pem, key):
        shutil.chown(path, "postgres", "postgres")
    data = folder / "data"
    made.run("initdb", "-D", data, "-U", "postgres", "--auth-local=trust", "--auth-host=reject")
    (data / "pg_hba.conf").write_text("local all postgres trust\nhostssl postgres openbao 127.0.0.1/32 cert\n")
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(f"port = {made.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n")
        settings.write(f"ssl = on\nssl_cert_file = '{pem}'\nssl_key_file = '{key}'\nssl_ca_file = '{folder}/ca.pem'\n")
    try:
        made.run("pg_ctl", "-D", data, "-w", "-l", folder / "log", "start")
        made.ask(SET_UP)
        yield made
    finally:
        made.run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_the_manager_connects_it_and_the_password_is_rotated(
    ready: World, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CERTIFICATES", str(server.folder))
    fleet: Fleet = replace(ready.fleet, database_names=("localhost",), database_port=server.port)
    verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = 'crm'"
    with manager(fleet, ready.door) as client:
        assert configure(fleet, client) == ["sys/policies/acl/manager"]
        changes = configure_database(fleet, client)
        assert changes == [
            *("sys/mounts/database", "sys/mounts/database/tune", "sys/policies/password/database"),
            *("database/config/crm", "database/static-roles/crm"),
        ]
        first = server.ask(verifier)
        assert first.startswith("SCRAM-SHA-256$")
        assert configure_database(fleet, client) == []
        client.write_data("database/rotate-role/crm", data={})
        assert server.ask(verifier).startswith("SCRAM-SHA-256$")
        assert server.ask(verifier) != first
        # the database moves: one `up` writes both the policy and the place
        moved = replace(fleet, database_names=("localhost", "localhost"))
        configure(moved, client)
        assert configure_database(moved, client) == ["database/config/crm"]
