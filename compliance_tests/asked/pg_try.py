# SPDX-License-Identifier: Apache-2.0
"""Runs on a CRM host: try to log in to PostgreSQL. Arguments: connection strings. Prints ``in`` or the server's first word on it."""

import sys

import psycopg2

for words in sys.argv[1:]:
    try:
        psycopg2.connect(words, connect_timeout=5).close()
        print("in")
    except psycopg2.OperationalError as error:
        print(" / ".join(line.strip() for line in str(error).splitlines() if line.strip())[:300])
