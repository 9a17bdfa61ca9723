# SPDX-License-Identifier: Apache-2.0
"""A sender and a receiver of log lines, with a journal of their own: real journald and rsyslogd, with the settings and programs that the roles ship.

Both share a root, an image as the lab's hosts have, in namespaces of their own.
"""

import asyncio
import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from jinku.places import CHECKOUT, cache_root
from stacks.provider.lab import images

NAME, STATE = "log.test.internal", "/var/spool/rsyslog/imjournal.state"
PORTS = {"log": 6514, "witness": 6515}
RECEIVER = 'global(workDirectory="/var/spool/receiver" maxMessageSize="64k")'
VOLUMES = {"log": "/var/log/remote", "witness": "/var/lib/jinku-witness"}
SETTINGS = {
    "sender": "hardening/logging/templates/etc/rsyslog.d/90-jinku-forward.conf.j2",
    "log": "roles/log/templates/etc/rsyslog.d/80-jinku-receiver.conf.j2",
    "witness": "roles/witness/templates/etc/rsyslog.d/80-jinku-witness.conf.j2",
}
PROGRAMS = (
    "hardening/logging/files/usr/local/libexec/jinku-log-again",
    "hardening/logging/files/usr/local/libexec/jinku-log-waits",
    "roles/log/files/usr/local/sbin/jinku-log-keep",
    "roles/witness/files/usr/local/sbin/jinku-witness",
)
SETUP = """
mount -t tmpfs none $FOLDER && cd $FOLDER && mkdir up work root
mount -t overlay none -o lowerdir=$LAYERS,upperdir=$FOLDER/up,workdir=$FOLDER/work root
mount -t proc none root/proc && mount --rbind /sys root/sys && mount -t tmpfs none root/run && mount -t tmpfs none root/tmp
mkdir -p root/run/systemd/journal $VOLUMES root/var/spool/receiver && mount -t tmpfs -o size=256k none $SMALL
tr -d - < /proc/sys/kernel/random/uuid > root/etc/machine-id && ln -sf /run/systemd/journal/dev-log root/dev/log
echo 127.0.0.1 $NAME >> root/etc/hosts && ip link set lo up && chroot root groupadd jinku-audit
echo ready && exec chroot root /usr/lib/systemd/systemd-journald
"""
# Seals are known by their unit, which the journal reads from the group of the process that wrote, if that is still there.
SEALING = """
for one in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    test ! -e $one/cgroup.procs || { mkdir -p $one/$SLICE/jinku-log-seal.service; echo $$ > $one/$SLICE/jinku-log-seal.service/cgroup.procs; }
done
exec systemd-cat -t jinku-seal sh -c 'while read -r seal; do last=$seal; echo "$seal"; done
    for _ in $(seq 50); do journalctl -q -n 1 -o cat -t jinku-seal | grep -qF "$last" && break; sleep 0.1; done'
""".replace("$SLICE", f"jinku{os.getpid()}.slice")
#: A sender that waits comes back within this many seconds (action.resumeIntervalMax is 30).
PATIENCE = 40
#: Lines, more than may be under way unconfirmed (a window of 128).
COUNT = 600
SENDER, RECEIVER_CONF, AGAIN = (
    "/etc/rsyslog.d/90-jinku-forward.conf",
    "/etc/receiver.conf",
    "/usr/local/libexec/jinku-log-again",
)
CERTIFICATES = f"""
mkdir -p /etc/jinku/tls && cd /etc/jinku/tls && new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
openssl req -x509 $new -keyout ca.key -out ca.pem -days 2 -subj /CN=ca
openssl req $new -keyout host.key -out host.csr -subj /CN=host && echo subjectAltName=DNS:{NAME} > names
openssl x509 -req -in host.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out host.pem
"""


class World:
    """Journal, sender and receiver; all that runs in it ends with it."""

    def __init__(self, folder: Path, receiver: str) -> None:
        self.folder, self.receiver, self.root = folder, receiver, folder / "root"
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.seals = (0, "")
        wanted = images.recipe("trixie", ["iproute2", "openssl", "rsyslog", "rsyslog-relp"])
        layers = images.layers(asyncio.run(images.ensure(cache_root(), wanted)))
        told = {"LAYERS": ":".join(str(layer) for layer in layers), "FOLDER": str(folder), "NAME": NAME}
        told["VOLUMES"] = " ".join(f"root{place}" for place in VOLUMES.values())
        told["SMALL"] = f"root{VOLUMES[receiver]}"
        apart = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        self.keeper = subprocess.Popen(
            [*apart, "sh", "-euc", SETUP], env=os.environ | told, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.keeper.stdout
        assert self.keeper.stdout.readline() == b"ready\n", self.keeper.communicate()
        (first,) = Path(f"/proc/{self.keeper.pid}/task/{self.keeper.pid}/children").read_text().split()
        self.inside = ["nsenter", f"--target={first}", "--mount", "--net", "--pid", "chroot", str(self.root)]
        self.until(lambda: self.do("test -S /run/systemd/journal/dev-log; echo $?") == "0\n", 5)

    def do(self, command: str, given: str = "") -> str:
        """Run a shell command in it; return its output."""
        done = subprocess.run(
            [*self.inside, "sh", "-c", command], input=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def put(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file."""
        self.do(f"mkdir -p $(dirname {path}) && cat > {path} && chmod {mode} {path}", text)

    def settle(self, *old: tuple[str, str, str]) -> None:
        """Write programs, certificates and settings as the roles ship them, but for some parts as they were before.

        Where the witness receives, the sender is a log host, whose own lines go to a receiver beside it.
        """
        self.do(f"( {CERTIFICATES} ) 2>&1")
        tiers = ["log", "witness"] if self.receiver == "witness" else ["log"]
        node = {"name": "n1", "fqdn": NAME, "tiers": tiers, "address": "127.0.0.1", "address6": ""}
        told: dict[str, Any] = {"jinku_names": {"log": NAME}, "jinku_hosts": [node], "jinku_node": {"tiers": []}}
        if self.receiver == "witness":
            told["jinku_node"] = {"tiers": ["log"]}
        told["jinku_services"] = {"log": {"port": PORTS["log"]}, "witness": {"port": PORTS["witness"]}}
        environment = jinja2.Environment(trim_blocks=True)  # noqa: S701 - no HTML
        environment.tests["contains"] = lambda values, value: value in values

        def rendered(name: str) -> str:
            return environment.from_string((CHECKOUT / name).read_text()).render(told)

        texts = {
            "/etc/rsyslog.conf": (CHECKOUT / "hardening/logging/files/etc/rsyslog.conf").read_text(),
            SENDER: rendered(SETTINGS["sender"]),
            RECEIVER_CONF: f"{RECEIVER}\n{rendered(SETTINGS[self.receiver])}",
            "/etc/beside.conf": f"{RECEIVER}\n{rendered(SETTINGS['log'])}",
            "/etc/jinku/log_nodes.json": rendered("roles/log/templates/etc/jinku/log_nodes.json.j2"),
        }
        programs = {program.partition("/files")[2]: (CHECKOUT / program).read_text() for program in PROGRAMS}
        texts |= programs
        for path, shipped, before in old:
            texts[path], times = re.subn(shipped, before, texts[path], flags=re.DOTALL if path == RECEIVER_CONF else 0)
            assert times == 1, shipped
        for path, text in texts.items():
            self.put(path, text, "0755" if path in programs else "0644")
        if self.receiver == "witness":
            self.start("beside")

    def begin(self, *old: tuple[str, str, str]) -> None:
        """Settle, start both, and see the first lines arrive."""
        self.settle(*old)
        self.start("receiver", "sender")
        self.log("first", 5)
        assert self.arrive("first", 5) == 5

    def start(self, *names: str, again: bool = True) -> None:
        """Start `receiver` or `sender` as their units do."""
        for name in names:
            if name == "sender" and again:
                self.do(f"{AGAIN} {STATE}")
            conf = "/etc/rsyslog.conf" if name == "sender" else f"/etc/{name}.conf"
            command = ["/usr/sbin/rsyslogd", "-n", "-f", conf, "-i", f"/run/{name}.pid"]
            self.running[name] = subprocess.Popen([*self.inside, *command])
            self.until(lambda name=name: self.pid(name) > 0, 5)  # type: ignore[misc]
            if name != "sender":
                port = PORTS["log" if name == "beside" else self.receiver]
                self.until(lambda port=port: f":{port}" in self.do("ss -Hltn"), 5)  # type: ignore[misc]

    def pid(self, name: str) -> int:
        """Process of a daemon in the namespace, 0 before it has told."""
        return int(self.do(f"cat /run/{name}.pid 2>/dev/null || echo 0"))

    def signal(self, name: str, sign: str) -> None:
        """Send a signal; after KILL or TERM the process is gone."""
        self.do(f"kill -{sign} {self.pid(name)}")
        if sign in ("KILL", "TERM"):
            process = self.running.pop(name)
            process.send_signal(signal.SIGCONT)  # nsenter stops with what it started
            process.wait(14)  # TimeoutStopSec of the units is 15
            self.do(f"rm -f /run/{name}.pid")

    def log(self, mark: str, count: int) -> None:
        """Write so many lines into the journal that go to the receiver."""
        if self.receiver == "witness":
            self.do(SEALING, "".join(self.sealed(f"{mark}-{number:04}-") for number in range(1, count + 1)))
        else:
            self.say(mark, count)

    def say(self, mark: str, count: int) -> None:
        """Write so many lines into the journal that are no seals."""
        self.do(f"seq -f '{mark}-%04.0f-' {count} | logger -t test")

    def sealed(self, path: str) -> str:
        """Return the next seal, as jinku-log-seal makes it."""
        told = {
            "schema": "jinku/seal/1",
            "number": self.seals[0] + 1,
            "previous": self.seals[1],
            "files": [[path, 1, ""]],
        }
        text = json.dumps(told, separators=(",", ":"))
        self.seals = (self.seals[0] + 1, hashlib.sha256(text.encode()).hexdigest())
        return f"{text}\n"

    def arrived(self, mark: str, volume: str = "") -> int:
        """How many different lines are in the receiver's files, as a whole."""
        volume = volume or VOLUMES[self.receiver]
        found = self.do(f"cat {volume}/n1/*.log 2>/dev/null | grep -oE '{mark}-[0-9]{{4}}-' | sort -u; true")
        return len(found.split())

    def arrive(self, mark: str, count: int, patience: float = PATIENCE, volume: str = "") -> int:
        """Wait until so many are there; return how many are."""
        self.until(lambda: self.arrived(mark, volume) >= count, patience, must=False)
        return self.arrived(mark, volume)

    def judged(self) -> str:
        """What `jinku-witness` finds wrong."""
        return self.do(f"jinku-witness check {VOLUMES['witness']} 600 2>&1 || true")

    def place(self) -> str:
        """The sender's place in the journal."""
        return self.do(f"cat {STATE}").strip()

    def until(self, true: Callable[[], bool], seconds: float, *, must: bool = True) -> None:
        """Wait for something."""
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                assert not must, "it never came"
                return
            time.sleep(0.1)

    def waits(self) -> bool:
        """Whether the sender has lines that wait."""
        return self.do(f"/usr/local/libexec/jinku-log-waits {STATE} 1 2>/dev/null && echo no || echo yes") == "yes\n"
