# SPDX-License-Identifier: Apache-2.0
"""Users at work, as many requests a second as are asked for, each over a connection of its own: what failed, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from crm_client import CrmError, RefusedError


@dataclass
class Load:
    """``with Load(ask, a_second=5) as load:`` calls ``ask`` from ``users`` threads; ``failures`` and ``slowest`` say what came of it.

    A request is begun when its time has come, however long others take: a gap of the service is met by as many requests as
    fall into it.
    """

    ask: Callable[[], object]
    a_second: float = 5.0
    users: int = 8
    count: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def __post_init__(self) -> None:
        """Make the threads; they begin with `with`."""
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self._next = time.monotonic()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.users)]

    def _wait(self) -> bool:
        with self._turn:
            mine = self._next = max(self._next + 1 / self.a_second, time.monotonic() - 1)
        return self._stop.wait(max(0.0, mine - time.monotonic()))

    def _work(self) -> None:
        while not self._wait():
            began = time.monotonic()
            try:
                self.ask()
            except (CrmError, RefusedError, OSError) as error:
                self.failures.append(f"{time.strftime('%H:%M:%S', time.gmtime())} {error!r:.200}")
            self.count += 1
            self.slowest = max(self.slowest, time.monotonic() - began)

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; what is under way is waited for."""
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
