# SPDX-License-Identifier: Apache-2.0
"""Runs on a host of the CRM, as the CRM's account: writes a row every 50 ms to whichever database takes it, until its input ends.

Argument: connection string. Prints as JSON the numbers of the rows whose commit was acknowledged, each with its time (seconds),
the longest time without one, and how often the connection was lost. The rows stand in the table jinku_drill.
"""

import itertools
import json
import sys
import threading
import time

import psycopg2

EVERY_SECONDS = 0.05
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()


def connected():
    """Return a connection that takes writes; tries until there is one, None when the input ends first."""
    while not ended.is_set():
        try:
            connection = psycopg2.connect(sys.argv[1])
        except psycopg2.OperationalError:
            time.sleep(0.2)
        else:
            connection.autocommit = True
            return connection
    return None


connection, number, acknowledged, broken = connected(), 0, [], 0
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE IF NOT EXISTS jinku_drill (number int PRIMARY KEY); TRUNCATE jinku_drill")
print("writes", flush=True)
while connection and not ended.is_set():
    number += 1
    try:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO jinku_drill VALUES (%s)", (number,))
        acknowledged.append((number, time.monotonic()))
        time.sleep(EVERY_SECONDS)
    except psycopg2.Error:
        broken += 1
        connection.close()
        connection = connected()
times = [at for _, at in acknowledged]
gap = max((later - sooner for sooner, later in itertools.pairwise(times)), default=0.0)
print(json.dumps({"acknowledged": acknowledged, "gap": gap, "broken": broken}), flush=True)
