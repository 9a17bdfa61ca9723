# SPDX-License-Identifier: Apache-2.0
"""The vault's database engine: where it connects, whose password it rotates, and by which statement.

All three stand word for word in the manager's policy as well (`vault_policies/manager.hcl`), which allows no others: whoever chose
the statement would run it as the engine, and whoever chose the server would be told the passwords.
"""

import hvac

from jinku.vault.fleet import Fleet
from jinku.vault.settings import Settings

__all__ = ["CERTIFICATES", "COMPOSITION", "configure_database", "connection_url"]

_DAY = 86400
#: Folder on the vault's host with its leaf, which the engine shows to PostgreSQL.
CERTIFICATES = "/etc/jinku/tls"
#: How the engine composes a password. Letters and digits only: it goes into a pgpass file, where : and \\ would need escapes.
COMPOSITION = """length = 40
rule "charset" { charset = "abcdefghijklmnopqrstuvwxyz" min-chars = 1 }
rule "charset" { charset = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" min-chars = 1 }
rule "charset" { charset = "0123456789" min-chars = 1 }
"""


def connection_url(fleet: Fleet) -> str:
    """Return how the engine reaches whichever PostgreSQL is the primary now: nobody has to tell the vault of a promotion."""
    files = (
        f"sslmode=verify-full&sslrootcert={CERTIFICATES}/ca.pem"
        f"&sslcert={CERTIFICATES}/host.pem&sslkey={CERTIFICATES}/host.key"
    )
    hosts = f"host={','.join(fleet.database_names)}&port={fleet.database_port}&target_session_attrs=read-write"
    return f"postgresql://openbao@/postgres?{hosts}&connect_timeout=5&{files}"


def configure_database(fleet: Fleet, client: hvac.Client, *, dry: bool = False) -> list[str]:
    """Connect the database engine to PostgreSQL and have it rotate the CRM's password daily; return what changed.

    OpenBao logs in to PostgreSQL as `openbao` with its machine's leaf, so there is no first password. It has no right there but
    to call the function that the role postgres makes, which sets the password of `crm`, and only a verifier (SCRAM) travels.
    Making the static role rotates the password at once. Raises hvac's errors when PostgreSQL cannot be reached.
    """
    settings = Settings(client, dry)
    if not settings.mount("mounts", "database", "database", _DAY):
        return settings.changes
    settings.keep("sys/policies/password/database", {"policy": COMPOSITION})
    # Numbers are sent as text: a policy compares no others.
    settings.keep(
        "database/config/crm",
        {
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": ["crm"],
            "connection_url": connection_url(fleet),
            # connections are opened anew, so that the machine's renewed leaf is used
            "max_connection_lifetime": "300s",
            "password_authentication": "scram-sha-256",
            "password_policy": "database",
        },
        inside="connection_details",
    )
    rotation = ["SELECT jinku.set_password('{{name}}', '{{password}}')"]
    settings.keep(
        "database/static-roles/crm",
        {"db_name": "crm", "username": "crm", "rotation_period": str(_DAY), "rotation_statements": rotation},
    )
    return settings.changes
