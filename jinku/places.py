# SPDX-License-Identifier: Apache-2.0
"""Where Jinku keeps what does not belong in a checkout: the state of an environment and the caches of a machine."""

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def state_root() -> Path:
    """Folder that holds one state folder per environment (``JINKU_STATE_DIR``, else the XDG state folder)."""
    return Path(os.environ.get("JINKU_STATE_DIR") or Path.home() / ".local/state/jinku")


def cache_root() -> Path:
    """Folder of images, tools and parts that every environment of this machine shares (``JINKU_CACHE_DIR``)."""
    return Path(os.environ.get("JINKU_CACHE_DIR") or Path.home() / ".cache/jinku")


@dataclass(frozen=True)
class Places:
    """The files of one environment outside the checkout. Nothing here is made by looking at it.

    ``name``: the environment's name. The state folder is kept at mode 0700 because it holds keys.
    """

    name: str

    @property
    def state(self) -> Path:
        """State folder of the environment."""
        return state_root() / self.name

    @property
    def cache(self) -> Path:
        """Cache shared by all environments of this machine."""
        return cache_root()

    @property
    def ssh(self) -> Path:
        """Folder of the SSH client configuration and the automation account's key."""
        return self.state / "ssh"

    @property
    def ssh_config(self) -> Path:
        """Client configuration: ``ssh -F`` this file reaches every node by name, through the bastion."""
        return self.ssh / "config"

    @property
    def known_hosts(self) -> Path:
        """Host keys of the nodes, as the backend reported them at creation."""
        return self.ssh / "known_hosts"

    @property
    def automation_key(self) -> Path:
        """Private key of the automation account (0600); ``.pub`` beside it."""
        return self.ssh / "automation"

    @property
    def pki(self) -> Path:
        """Root CA and operators' CA (0700); may be moved offline."""
        return self.state / "pki"

    @property
    def vault(self) -> Path:
        """What the initialisation of the vault leaves for the operators (0700)."""
        return self.state / "vault"

    @property
    def pulumi(self) -> Path:
        """Pulumi's file backend with the encrypted state of each site's stack."""
        return self.state / "pulumi"

    @property
    def lab(self) -> Path:
        """Hosts and volumes of the backend ``lab``."""
        return self.state / "lab"

    @property
    def receiver(self) -> Path:
        """What the lab's receiver of alarms has got (``received.jsonl``), and its certificate."""
        return self.lab / "receiver"

    @property
    def receiver_certificate(self) -> Path:
        """Certificate of the lab's receiver, which signs itself; made when it starts first."""
        return self.receiver / "certificate.pem"

    @property
    def origin(self) -> Path:
        """One line: the environment.yaml that this state belongs to (:mod:`jinku.origin`)."""
        return self.state / "origin"

    @property
    def reports(self) -> Path:
        """Evidence reports, one folder a check."""
        return self.state / "reports"

    @property
    def journal(self) -> Path:
        """One JSON line for each ``up`` and ``destroy``: who, commit, plan digest, result."""
        return self.state / "journal.jsonl"

    def make(self) -> None:
        """Make the state folder, readable by its owner only. Existing folders keep their content, not a wider mode.

        :raises OSError: the folder cannot be made, for instance on a full or read-only disk.
        """
        for folder in (self.state, self.ssh, self.pki, self.vault, self.reports):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_mode & 0o077:  # made by somebody else before us, such as the parents of a log file
                folder.chmod(0o700)
