# SPDX-License-Identifier: Apache-2.0
"""The lab's receiver of alarms: a mail relay and a webhook on the controller's wan address, which keep what they get."""

from pathlib import Path

from jinku.lab_receiver import RECEIVER_MAIL_PORT, RECEIVER_WEBHOOK_PORT

from . import names
from .daemon import Daemon

PROGRAM = "stacks.provider.lab.receiver_program"
DAEMON = Daemon("receiver", "JINKU_RECEIVER_ENV", PROGRAM, (RECEIVER_MAIL_PORT, RECEIVER_WEBHOOK_PORT))


def folder(env: str) -> Path:
    """Where it keeps what it got."""
    return names.lab_directory(env) / "receiver"


async def ensure(env: str, address: str) -> None:
    """Start the receiver on `address`, which must be the controller's own, unless it runs."""
    await DAEMON.ensure(env, address, (PROGRAM, address, str(folder(env))), folder(env) / "log")
