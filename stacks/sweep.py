# SPDX-License-Identifier: Apache-2.0
"""`python -m stacks.sweep ENVIRONMENT`: removes what an environment still has on this machine, whatever Pulumi's state says.

A crash may leave what no state knows of. Prints one line for each thing found; ends with 1 when something resisted.
Volumes go only with `--with-volumes`, for they hold data.
"""

import asyncio
import sys

from stacks.provider.lab.leftovers import leftovers, sweep


async def main(environment: str, *, with_volumes: bool) -> int:
    """Sweep, and return the exit code."""
    for sort, names in (await leftovers(environment)).items():
        if sort != "volumes" or with_volumes:
            print(f"left over: {sort}: {', '.join(names)}")
    await sweep(environment, with_volumes=with_volumes)
    remains = {
        sort: names for sort, names in (await leftovers(environment)).items() if sort != "volumes" or with_volumes
    }
    for sort, names in remains.items():
        print(f"still there: {sort}: {', '.join(names)}", file=sys.stderr)
    return 1 if remains else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], with_volumes="--with-volumes" in sys.argv[2:])))
