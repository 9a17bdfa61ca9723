# SPDX-License-Identifier: GPL-3.0-or-later
"""The database password, when it was rotated before its time: whoever is refused has the agent fetch the present one.

libpq reads the password file at each new connection, so trying again is all that is left to do; Tryton's pool does, for
`[database] retry` seconds, and nobody notices a rotation.
"""

from pathlib import Path
from typing import Any

import psycopg2

#: jinku-crm-password.path waits for it.
REFUSED = Path("/run/jinku-crm/password-refused")


def is_refused(error: BaseException) -> bool:
    """Whether the server refused the password; psycopg2 gives no code for it."""
    return "password authentication failed" in str(error)


def connect(*arguments: Any, **options: Any) -> Any:
    """psycopg2.connect, which says so when the password is refused. Raises what it raises."""
    try:
        return _connect(*arguments, **options)
    except psycopg2.OperationalError as error:
        if is_refused(error) and REFUSED.parent.is_dir():
            REFUSED.touch()
        raise


_connect = psycopg2.connect


def watch() -> None:
    """Have Tryton's pool connect this way."""
    psycopg2.connect = connect
