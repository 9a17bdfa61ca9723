# SPDX-License-Identifier: Apache-2.0
"""What systemd makes of hardening/kernel's settings beside those of the distribution: the real systemd-sysctl, in a network of its own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SETTINGS = Path(__file__).parents[1] / "hardening/kernel/files/etc/sysctl.d/90-jinku.conf"
APPLY = "/usr/lib/systemd/systemd-sysctl"
#: The network's lines of Debian 13's linux-sysctl-defaults (/usr/lib/sysctl.d/50-default.conf), which images without recommended packages lack.
DEBIAN = """
net.ipv4.conf.default.rp_filter = 2
net.ipv4.conf.*.rp_filter = 2
-net.ipv4.conf.all.rp_filter
net.ipv4.conf.default.accept_source_route = 0
net.ipv4.conf.*.accept_source_route = 0
-net.ipv4.conf.all.accept_source_route
net.ipv4.conf.default.promote_secondaries = 1
net.ipv4.conf.*.promote_secondaries = 1
-net.ipv4.conf.all.promote_secondaries
"""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes a network of its own"),
    pytest.mark.skipif(not shutil.which(APPLY), reason="systemd-sysctl is not here"),
]


def applied(folder: Path, *files: str) -> dict[str, str]:
    """Values of /proc/sys/net/ipv4/conf in a new network after these files, by name such as lo/rp_filter; nothing outside of it is set."""
    paths = []
    for number, text in enumerate(files):
        only = [line for line in text.splitlines() if line.removeprefix("-").startswith("net.ipv4.conf.")]
        paths.append(folder / f"{number}.conf")
        paths[-1].write_text("\n".join(only) + "\n")
    told = subprocess.run(
        ["unshare", "--net", "sh", "-euc", f"{APPLY} \"$@\"; cd /proc/sys/net/ipv4/conf; grep -H '' */*", "-", *paths],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return dict(line.split(":", 1) for line in told.splitlines())


def test_every_interface_has_our_value_though_the_distribution_names_another(tmp_path: Path) -> None:
    text = SETTINGS.read_text(encoding="utf-8")
    ours = [line.split(" = ") for line in text.splitlines() if line.startswith("net.ipv4.conf.*.")]
    assert len(ours) >= 5
    now = applied(tmp_path, DEBIAN, text)
    for name, value in ours:
        setting = name.rpartition(".")[2]
        assert {where: now[f"{where}/{setting}"] for where in ("all", "default", "lo")} == dict.fromkeys(
            ("all", "default", "lo"), value
        ), setting


def test_a_pattern_alone_would_not_have_done_it(tmp_path: Path) -> None:
    now = applied(tmp_path, DEBIAN, "net.ipv4.conf.*.rp_filter = 1")
    assert now["default/rp_filter"] == "2"
