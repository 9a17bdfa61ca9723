# SPDX-License-Identifier: Apache-2.0
"""Where the lab's packages come from: the controller's own Debian sources, so that no host name is written down here."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .process import LabError

APT = Path("/etc/apt")


@dataclass(frozen=True)
class Sources:
    """Base addresses of the archive and, if the controller knows one, of the security archive."""

    archive: str
    security: str | None

    def lines(self, suite: str) -> list[str]:
        """One-line apt sources of a Debian suite, such as `trixie`."""
        lines = [f"deb {self.archive} {suite} main", f"deb {self.archive} {suite}-updates main"]
        if self.security:
            lines.append(f"deb {self.security} {suite}-security main")
        return lines

    def hosts(self) -> frozenset[str]:
        """Host names that the package mirror may fetch from."""
        return frozenset(urlsplit(uri).hostname or "" for uri in (self.archive, self.security) if uri)


def entries(deb822: str, one_line: str) -> list[tuple[str, list[str]]]:
    """(URI, suites) of every `deb` entry in the text of debian.sources and of sources.list, in their order."""
    found: list[tuple[str, list[str]]] = []
    for stanza in re.split(r"\n\s*\n", deb822):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t]+.*)*)", stanza, re.MULTILINE))
        if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes") != "no":
            found += [(uri, fields.get("Suites", "").split()) for uri in fields.get("URIs", "").split()]
    for uri, suite in re.findall(r"^deb\s+(?:\[[^]]*]\s+)?(\S+)\s+(\S+)", one_line, re.MULTILINE):
        found.append((uri, [suite]))
    return found


def controller_sources(apt: Path = APT) -> Sources:
    """Read the controller's debian.sources and sources.list; no other file of that folder is looked at.

    Raises LabError if neither names a Debian archive.
    """
    texts = [
        path.read_text() if path.exists() else ""
        for path in (apt / "sources.list.d/debian.sources", apt / "sources.list")
    ]
    archive = security = None
    for uri, suites in entries(*texts):
        if any(suite.endswith("-security") for suite in suites):
            security = security or uri.rstrip("/")
        elif suites:
            archive = archive or uri.rstrip("/")
    if archive is None:
        raise LabError(
            f"{apt}/sources.list.d/debian.sources: no Debian archive in it; a stanza with Types: deb and URIs: would be right"
        )
    return Sources(archive, security)
