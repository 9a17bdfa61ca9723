# SPDX-License-Identifier: Apache-2.0
"""The lab on another kind of machine: systemd as PID 1, cgroup v2, Debian 13's nspawn and Python, all of it in a guest.

The machine that runs the tests may have the older layout and no systemd; `make up` must work on both.
"""

import asyncio
import json
import os
import subprocess
import time
from pathlib import Path

import proxy
import pytest

from jinku.places import CHECKOUT, cache_root
from stacks.provider.lab import cgroups, hosts, images

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes hosts")]

NAME = "jinku-test-controller"
PACKAGES = (
    "systemd-container",
    "e2fsprogs",
    "openssh-client",
    "python3-typing-extensions",
    "python3-aiosmtpd",
    "python3-cryptography",
)
CONTROLLER = """
for root in $HIERARCHIES; do mkdir -p $root/$NAME/guest; echo $$ > $root/$NAME/guest/cgroup.procs; done
mount -t overlay overlay -o lowerdir=$LOWER,upperdir=$FOLDER/upper,workdir=$FOLDER/work $FOLDER/merged
exec systemd-nspawn --quiet --boot --directory=$FOLDER/merged --machine=$NAME --private-network --register=no \
    --keep-unit --resolv-conf=off --timezone=off --capability=all --console=read-only \
    --bind=$CHECKOUT --bind=$CACHE --bind=$FOLDER/state:/state --bind-ro=$PROXY:/python/proxy --bind=/dev/loop-control
"""
SCRIPT = """
import asyncio, json, os, subprocess, sys, time
from pathlib import Path
sys.path[:0] = [CHECKOUT, "/python"]
os.environ |= {"JINKU_STATE_DIR": "/state", "PYTHONPATH": f"{CHECKOUT}:/python"}
from stacks.provider.lab import cgroups, hosts, leftovers, networks, routers, volumes

ENV, told = "inner", {}
subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/state/key"], check=True)
router = routers.Router(ENV, "a", "172.29.199.2/24", (routers.Leg("app", "10.199.0.1/27"),), "table inet jinku")
host = hosts.Host(ENV, "a", "h1", "h1.inner.internal", "app", IMAGE, "10.199.0.4/27", "10.199.0.1",
                  Path("/state/key.pub").read_text(), volumes=(hosts.Mount("h1-data", "/data"),))
broken = hosts.Host(ENV, "a", "h2", "h2.inner.internal", "app", IMAGE, "10.199.0.5/27", "10.199.0.1", "x",
                    volumes=(hosts.Mount("h2-data", "/data"),))

def ssh(command):
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=5"]
    words = [word for option in options for word in ("-o", option)]
    done = subprocess.run(["ssh", "-i", "/state/key", *words, "automation@10.199.0.4", command], capture_output=True, text=True)
    return done.stdout.strip() or done.stderr

async def main():
    told["layout"] = [str(path) for path in cgroups.hierarchies()]
    told["first"] = Path("/proc/1/comm").read_text().strip()
    await routers.ensure(router)
    told["router"] = await routers.inspect(router)
    await volumes.ensure(ENV, "a", "h1-data", 1)
    (await volumes.ensure(ENV, "a", "h2-data", 1)).write_bytes(b"no file system")
    made = await asyncio.gather(hosts.create(host), hosts.create(broken), return_exceptions=True)
    told["made"] = made[0].state
    told["broken"] = str(made[1])
    told["guest"] = ssh("sudo touch /data/mark; systemctl is-system-running")
    boot = ssh("cat /proc/sys/kernel/random/boot_id")
    ssh("sudo sh -c '(sleep 0.3; systemctl reboot) > /dev/null 2>&1 &'")
    for _ in range(40):
        time.sleep(0.5)
        after = ssh("cat /proc/sys/kernel/random/boot_id; ls /data/mark").split()
        if after[0] != boot and len(after) == 2:
            break
    told["rebooted"] = after[0] != boot and after[1] == "/data/mark"
    await cgroups.kill(host.id)
    told["killed"] = (await hosts.inspect(host)).state
    told["mended"] = (await hosts.update(host)).state
    await hosts.stop(host)
    await hosts.start(host)
    told["restarted"] = ssh("hostname")
    await leftovers.sweep(ENV, with_volumes=True)
    told["left"] = await leftovers.leftovers(ENV)
    told["cgroups"] = [path.name for path in Path("/sys/fs/cgroup").glob("jinku*")]
    print(json.dumps(told))

asyncio.run(main())
"""


def inside(command, **options):
    """Run a program in the controller guest."""
    pids = cgroups.pids(NAME, "guest/payload/init.scope")
    words = ["nsenter", f"--target={pids[0]}", *["-m", "-u", "-i", "-p", "-n", "-C", "--root", "--wd"], *command]
    return subprocess.run(words, capture_output=True, text=True, timeout=150, check=False, **options)


@pytest.fixture
def controller(tmp_path):
    layers = images.layers(asyncio.run(images.ensure(cache_root(), images.recipe("trixie", PACKAGES))))
    for part in ("upper", "work", "merged", "state"):
        (tmp_path / part).mkdir()
    env = {
        "PATH": os.environ["PATH"],
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes",
        "HIERARCHIES": " ".join(map(str, cgroups.hierarchies())),
        "NAME": NAME,
        "FOLDER": str(tmp_path),
        "LOWER": ":".join(map(str, layers)),
        "CHECKOUT": str(CHECKOUT),
        "CACHE": str(cache_root()),
        "PROXY": str(Path(proxy.__file__).parent),
    }
    asyncio.run(cgroups.kill(NAME))
    with (tmp_path / "console").open("wb") as console:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", CONTROLLER]
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        for _ in range(120):
            time.sleep(0.5)
            if cgroups.pids(NAME, "guest/payload/init.scope"):
                state = inside(["systemctl", "is-system-running"]).stdout.strip()
                if state in ("running", "degraded"):
                    break
        else:
            pytest.fail((tmp_path / "console").read_text()[-2000:])
        inside(["sh", "-c", "for n in $(seq 0 63); do [ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done"])
        yield
    finally:
        asyncio.run(cgroups.kill(NAME))
        process.wait(30)
        hosts.forget(NAME)


@pytest.mark.usefixtures("controller")
def test_the_lab_works_under_systemd_and_on_cgroup_v2():
    image = asyncio.run(images.ensure(cache_root(), images.recipe("trixie", [])))
    script = f"CHECKOUT, IMAGE = {str(CHECKOUT)!r}, {str(image)!r}\n{SCRIPT}"
    # By its path: PATH may lead to our virtual environment, which has nothing for the guest's Python.
    done = inside(["/usr/bin/python3", "-"], input=script)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told.pop("broken").startswith("h2: died while booting: ")
    assert told == {
        "layout": ["/sys/fs/cgroup"],
        "first": "systemd",
        "router": "running",
        "made": "running",
        "guest": "running",
        "rebooted": True,
        "killed": "stopped",
        "mended": "running",
        "restarted": "h1",
        "left": {},
        "cgroups": [],
    }
