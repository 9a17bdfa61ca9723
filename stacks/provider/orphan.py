# SPDX-License-Identifier: Apache-2.0
"""Ends the provider when the engine that started it is gone.

An engine that is killed cannot end its plugins. An orphan would go on changing hosts beside the next run's provider, so
it ends with the programs it has started; hosts and the mirror have sessions of their own and stay.
"""

import os
import signal
import threading
import time

_LOOK_SECONDS = 0.5


def end_with_parent() -> None:
    """Watch the parent process from a thread; returns at once."""
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    if os.getpgrp() == os.getpid():  # the engine gives each plugin a group
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
