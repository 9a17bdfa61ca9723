# SPDX-License-Identifier: Apache-2.0
"""Runs in a probe's namespace: accept TCP on many ports, IPv4 and IPv6, until standard input ends. Arguments: ports."""

import asyncio
import sys


async def main():
    for port in sys.argv[1:]:
        for address in ("0.0.0.0", "::"):  # noqa: S104 - in a probe's own namespace
            await asyncio.start_server(lambda _, writer: writer.close(), address, int(port))
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
