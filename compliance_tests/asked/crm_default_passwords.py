# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a CRM host as the application's account: are any users' passwords well known? Arguments: passwords.

Prints one line an active user: ``<login> none|<the password>``. It reads the hashes as the application does and keeps none.
"""

import os
import sys

os.environ["TRYTOND_CONFIG"] = "/etc/jinku/crm/trytond.conf"  # read by the imports below

import psycopg2
from trytond.config import config
from trytond.res.user import CRYPT_CONTEXT

address, _, options = config.get("database", "uri").partition("?")
with psycopg2.connect(f"{address.rstrip('/')}/{config.get('database', 'default_name')}?{options}") as connection:
    cursor = connection.cursor()
    cursor.execute(
        "SELECT login, password_hash FROM res_user WHERE active AND password_hash IS NOT NULL AND login IS NOT NULL"
    )
    for login, kept in cursor.fetchall():
        print(login, next((word for word in (*sys.argv[1:], login) if CRYPT_CONTEXT.verify(word, kept)), "none"))
