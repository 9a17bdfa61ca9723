# SPDX-License-Identifier: Apache-2.0
"""Keeps a path of the vault as it should be: reads, compares, writes only what differs, and says what it did."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import hvac
from hvac.exceptions import Forbidden, InvalidPath

__all__ = ["Settings", "plain"]


def plain(value: Any) -> Any:
    """Bring what we send and what OpenBao returns to one form: order of lists, host masks, line ends, and numbers as text mean nothing."""
    if isinstance(value, list | tuple):
        return sorted(plain(item) for item in value)
    if isinstance(value, str):
        return value.strip().removesuffix("/32").removesuffix("/128")
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


@dataclass
class Settings:
    """One pass over the vault with `client`; with `dry` it only says what it would do. `changes` names the paths."""

    client: hvac.Client
    dry: bool = False
    changes: list[str] = field(default_factory=list)

    def read(self, path: str) -> dict[str, Any] | None:
        """Return the data at `path`, or None when nothing is there."""
        try:
            answer = self.client.read(path)
        except InvalidPath:
            return None
        return None if answer is None else dict(answer["data"])

    def names(self, path: str) -> list[str]:
        """Return the names listed below `path`; in a dry run none where the policy that allows to look would come first."""
        try:
            answer = self.client.list(path)
        except InvalidPath:
            return []
        except Forbidden:
            if not self.dry:
                raise
            return []
        return [] if answer is None else list(answer["data"]["keys"])

    def write(self, path: str, data: Mapping[str, Any], what: str | None = None) -> dict[str, Any]:
        """Write `data` unless dry, note the change (`what`, or the path), return the answer's data."""
        self.changes.append(what or path)
        if self.dry:
            return {}
        answer = self.client.write_data(path, data=dict(data))
        found = answer.get("data") if isinstance(answer, dict) else None
        return dict(found or {})

    def keep(self, path: str, wanted: Mapping[str, Any], inside: str | None = None) -> None:
        """Make the keys of `wanted` hold at `path`; keys that it does not name are left alone.

        `inside`: the key of the answer under which some of the keys are returned, where the engine nests them.
        """
        found = self.read(path)
        if found is not None and inside:
            found = {**found, **(found.get(inside) or {})}
        if found is None or any(plain(found.get(key)) != plain(value) for key, value in wanted.items()):
            self.write(path, wanted)

    def drop_others(self, path: str, prefix: str, wanted: set[str]) -> None:
        """Delete whatever is listed below `path`, starts with `prefix` and is not wanted: hosts that have left."""
        for name in self.names(path):
            if name.startswith(prefix) and name not in wanted:
                self.changes.append(f"{path}/{name} removed")
                if not self.dry:
                    self.client.delete(f"{path}/{name}")

    def mount(self, kind: str, name: str, plugin: str, life: int) -> bool:
        """Have a secrets engine (`kind` mounts) or auth method (`auth`) at `name`, leases of at most `life` seconds.

        Returns whether it is there: False only in a dry run on a vault that lacks it.
        """
        table = self.read(f"sys/{kind}") or {}
        found = table.get(f"{name}/", {}).get("config", {})
        lives = {"max_lease_ttl": life, "default_lease_ttl": life}
        if lives.items() <= found.items():
            return True
        path = f"sys/{kind}/{name}"
        if not found:
            self.write(path, {"type": plugin})
        if self.dry and not found:
            return False
        # Apart from the mounting, for a policy can say which settings it allows here, and not there. As text: it compares no numbers.
        self.write(f"{path}/tune", {key: str(value) for key, value in lives.items()})
        return True
