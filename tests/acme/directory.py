# SPDX-License-Identifier: Apache-2.0
"""A real ACME service on this machine: Pebble, built once from its Go modules as tools/acme pins them, with a name service of its own."""

import hashlib
import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import CertificateSigningRequestBuilder, Name
from filelock import FileLock

from jinku.engine import go_tool
from jinku.pki import Authority
from jinku.places import CHECKOUT, cache_root

MODULE = CHECKOUT / "tools/acme"
PROGRAMS = ("pebble", "pebble-challtestsrv")
HOST = "acme.pebble.test"
READY_S = 15


def programs() -> Path:
    """Folder with Pebble and its name service, built where it is missing (half a minute, once)."""
    content = b"".join((MODULE / name).read_bytes() for name in ("go.mod", "go.sum"))
    folder = cache_root() / "acme" / hashlib.sha256(content).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        for name in PROGRAMS:
            if not (folder / name).exists():
                command = [str(go_tool(print)), "build", "-trimpath", "-o", str(folder / f"{name}.partial")]
                environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
                package = f"github.com/letsencrypt/pebble/v2/cmd/{name}"
                subprocess.run([*command, package], cwd=MODULE, env=environment, check=True)
                (folder / f"{name}.partial").rename(folder / name)
    return folder


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Directory:
    """The ACME directory on ``address``, and the names that it looks up: each is ``edge``.

    It keeps nothing: a new start knows no account of before, and issues under a new root.
    """

    def __init__(self, folder: Path, address: str, edge: str) -> None:
        self.folder, self.address, self.port, self.edge = folder, address, _free_port(), edge
        self._management, self._running, self._logs = _free_port(), list[subprocess.Popen[bytes]](), 0
        self._authority = Authority(folder, "directory").ensure("Directory of the ACME test", years=1, path_length=0)
        key = ec.generate_private_key(ec.SECP256R1())
        request = CertificateSigningRequestBuilder().subject_name(Name([])).sign(key, hashes.SHA256())
        signed = self._authority.sign_server(
            request.public_bytes(serialization.Encoding.PEM), [HOST], [address], days=5
        )
        (folder / "pebble.pem").write_bytes(signed)
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / "pebble.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))

    @property
    def url(self) -> str:
        """What `edge.acme_directory` names."""
        return f"https://{HOST}:{self.port}/dir"

    def start(self, *, life_s: int = 7776000, refused: tuple[str, ...] = ()) -> Self:
        """Start it: certificates are good for ``life_s`` seconds, and none is issued for a name in ``refused``."""
        names, where = _free_port(), programs()
        pebble: dict[str, Any] = {
            "listenAddress": f"{self.address}:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(self.folder / "pebble.pem"),
            "privateKey": str(self.folder / "pebble.key"),
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "domainBlocklist": list(refused),
            "retryAfter": {"authz": 1, "order": 1},
            "profiles": {"default": {"description": "the only one", "validityPeriod": life_s}},
        }
        (self.folder / "pebble.json").write_text(json.dumps({"pebble": pebble}))
        server = ["-dnsserver", f"127.0.0.1:{names}", "-defaultIPv4", self.edge, "-defaultIPv6", ""]
        off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-management", f"127.0.0.1:{_free_port()}"]
        self._run([str(where / "pebble-challtestsrv"), *server, *off])
        self._run(
            [str(where / "pebble"), "-config", str(self.folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{names}"]
        )
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            with socket.socket() as one:
                if one.connect_ex((self.address, self.port)) == 0:
                    return self
            time.sleep(0.2)
        raise RuntimeError(f"{self.folder}/pebble.log: no ACME directory after {READY_S} s")

    def _run(self, command: list[str]) -> None:
        with (self.folder / "pebble.log").open("ab") as log:
            environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1"}
            self._running.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))

    def stop(self) -> None:
        """End it."""
        for process in self._running:
            process.terminate()
            process.wait(10)
        self._running.clear()

    def authorities(self) -> str:
        """The roots (PEM) that the edge and its users must trust: of the directory's own certificate, and of those it issues now."""
        command = ["curl", "-sSf", "--cacert", str(self._authority.certificate_path)]
        command += ["--connect-to", f"::127.0.0.1:{self._management}", f"https://{HOST}:{self._management}/roots/0"]
        issued = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return self._authority.certificate_path.read_text() + issued
