# SPDX-License-Identifier: Apache-2.0
"""How long ten hosts take to be up, against ten bare systemd-nspawn boots of the same image in the same run.

Needs root. Prints one JSON object; ends with 1 if the ratio is above its limit (issue 3: 1.3).
Bare: an overlay over the image, a cgroup, a machine id and systemd-nspawn, nothing else. Ours: identity with a new SSH
host key, namespace, cable to a bridge, addresses, keeper. The network is made before the clock runs; Pulumi is not in it.
"""

import asyncio
import json
import os
import secrets
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

from jinku.places import cache_root
from stacks.provider.lab import cgroups, hosts, images, leftovers, networks

ENV = "bench-hosts-up"
HOSTS = 10
ROUNDS = 3
LIMIT = 1.3
BARE = """
for root in $HIERARCHIES; do mkdir -p $root/$NAME; echo $$ > $root/$NAME/cgroup.procs; done
mount -t overlay overlay -o lowerdir=$LOWER,upperdir=$FOLDER/upper,workdir=$FOLDER/work $FOLDER/merged
exec systemd-nspawn --quiet --boot --directory=$FOLDER/merged --machine=$NAME --private-network --register=no \
    --keep-unit --notify-ready=yes --resolv-conf=off --timezone=off --link-journal=no --console=read-only
"""


async def bare(layers: list[Path], number: int, folder: Path) -> None:
    """Boot one bare guest and return when its systemd says that it is up."""
    for part in ("upper/etc", "work", "merged"):
        (folder / part).mkdir(parents=True)
    (folder / "upper/etc/machine-id").write_text(secrets.token_hex(16) + "\n")
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready.bind(str(folder / "ready"))
    ready.setblocking(False)
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "--propagation", "private", "sh", "-euc", BARE),
        env={
            "PATH": os.environ["PATH"],
            "NAME": f"jinku-{ENV}.bare.{number}",
            "FOLDER": str(folder),
            "LOWER": ":".join(map(str, layers)),
            "HIERARCHIES": " ".join(map(str, cgroups.hierarchies())),
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
            "NOTIFY_SOCKET": str(folder / "ready"),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    await asyncio.wait_for(hosts.until_ready(ready, process), hosts.BOOT_SECONDS)
    ready.close()


async def bare_round(layers: list[Path]) -> float:
    """Seconds until ten bare guests are up."""
    with tempfile.TemporaryDirectory(prefix="jinku-bench-", dir="/var/tmp") as folder:
        begun = time.monotonic()
        await asyncio.gather(*(bare(layers, number, Path(folder) / str(number)) for number in range(HOSTS)))
        seconds = time.monotonic() - begun
        await asyncio.gather(*(cgroups.kill(f"jinku-{ENV}.bare.{number}") for number in range(HOSTS)))
        await asyncio.sleep(0.5)  # the kernel unmounts when the last process is gone
    return seconds


async def our_round(image: Path) -> float:
    """Seconds until ten hosts of ours are up."""
    await networks.ensure(ENV, "a", "app")
    wanted = [
        hosts.Host(
            env=ENV,
            site="a",
            name=f"h{number}",
            fqdn=f"h{number}.bench.internal",
            zone="app",
            image=str(image),
            address=f"10.198.0.{number + 4}/27",
            gateway="10.198.0.1",
            automation_key="ssh-ed25519 AAAA bench",
            address6=f"fd98:a::{number + 4}/64",
            gateway6="fd98:a::1",
        )
        for number in range(HOSTS)
    ]
    begun = time.monotonic()
    await asyncio.gather(*map(hosts.create, wanted))
    seconds = time.monotonic() - begun
    await leftovers.sweep(ENV, with_volumes=True)
    return seconds


async def main() -> int:
    """Measure in turns, so that a busy moment hits both; compare medians."""
    image = await images.ensure(cache_root(), images.recipe("trixie", []))
    layers = images.layers(image)
    floor, ours = [], []
    with tempfile.TemporaryDirectory(prefix="jinku-bench-", dir="/var/tmp") as state:
        os.environ["JINKU_STATE_DIR"] = state
        try:
            for _ in range(ROUNDS):
                floor.append(await bare_round(layers))
                ours.append(await our_round(image))
        finally:
            await leftovers.sweep(ENV, with_volumes=True)
    ratio = statistics.median(ours) / statistics.median(floor)
    told = {"schema": "jinku/benchmark/1", "name": "hosts_up", "hosts": HOSTS, "limit": LIMIT}
    told |= {"bare_seconds": [round(value, 2) for value in floor], "seconds": [round(value, 2) for value in ours]}
    print(json.dumps({**told, "ratio": round(ratio, 2)}))
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
