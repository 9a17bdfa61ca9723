# SPDX-License-Identifier: Apache-2.0
"""Progress: spinners with running times on a terminal, one plain line for each finished step otherwise."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import NoReturn, Self

from rich.console import Console
from rich.progress import Progress as Spinners
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class _Console(Console):
    """Raises BrokenPipeError when the reader has gone, where rich would end the process with 1; silent from then on."""

    def on_broken_pipe(self) -> NoReturn:
        self.quiet = True
        raise BrokenPipeError


class Progress:
    """Shows what runs and how long each step took. Safe to call from several threads; used as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _Console(stderr=False, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._live = self._console.is_terminal
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        self._spinners = Spinners(*columns, console=self._console, transient=True, disable=not self._live)
        self._running: dict[str, TaskID] = {}
        self._quarters: dict[str, int] = {}
        self._lock = threading.Lock()
        self.stages: list[tuple[str, float]] = []

    def __enter__(self) -> Self:
        """Start to draw."""
        self._spinners.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear the spinners; what was printed stays."""
        self._spinners.stop()

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print a line above the spinners."""
        self._console.print(text, style=style, markup=False, emoji=False)

    def begin(self, step: str) -> None:
        """A step starts; plain output waits for its end."""
        with self._lock:
            if self._live and step not in self._running:
                self._running[step] = self._spinners.add_task(step)

    def so_far(self, step: str, percent: int) -> None:
        """How far a step is; plain output tells each quarter once."""
        with self._lock:
            task, told = self._running.get(step), self._quarters.get(step, 0)
            self._quarters[step] = percent // 25
        if task is not None:
            self._spinners.update(task, description=f"{step}  {percent} %")
        elif told < percent // 25 < 4:
            self.line(f"          {step}: {percent // 25 * 25} %")

    def end(self, step: str, seconds: float, note: str = "", *, failed: bool = False, quiet: bool = False) -> None:
        """A step ended after ``seconds``. ``quiet``: it is not worth a line of its own."""
        with self._lock:
            task = self._running.pop(step, None)
            if task is not None:
                self._spinners.remove_task(task)
        if failed or not quiet:
            text = f"{seconds:7.1f} s  {step}{'  ' + note if note else ''}{'  FAILED' if failed else ''}"
            self.line(text, "bold red" if failed else None)

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """A stage of a verb: its title, then its steps, then its time."""
        self.line(f"==> {title}", "bold")
        begun, whole = time.monotonic(), False
        try:
            yield
            whole = True
        finally:
            seconds = time.monotonic() - begun
            self.stages.append((title, seconds))
            for step in list(self._running):  # what was still running when the stage was left
                self.end(step, seconds, quiet=True)
            self.line(f"{seconds:7.1f} s  {title}: {'all' if whole else 'stopped'}", "dim")
