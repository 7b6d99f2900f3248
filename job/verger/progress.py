"""What a run shows while it works: a live bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

BEAT = 0.25  # seconds between looks at the counters
LINE = 5.0  # seconds between plain lines

Count = Callable[[], tuple[int, int]]  # images done, of which failed


def describe(done: int, total: int, failed: int, seconds: float) -> str:
    """`1,200 of 4,207 images, 310/s, 10 s left, 3 failed`"""
    parts = [f"{done:,} of {total:,} images"]
    if done and seconds > 0:
        rate = done / seconds
        parts += [f"{rate:,.0f}/s", f"{(total - done) / rate:,.0f} s left"]
    return ", ".join([*parts, f"{failed:,} failed"])


@dataclass
class Show:
    """Usage: `with show.stage("features", total=4207, count=counters): ...`

    `seconds` holds what each stage took.
    """

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, total: int = 0, count: Count | None = None) -> Iterator[None]:
        """A part of the run; with `count`, how far it is of `total` images."""
        began = time.monotonic()
        over = threading.Event()
        display = self._bar if self.console.is_terminal else self._lines
        thread = threading.Thread(target=display, args=(name, total, count, began, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - began, 3)
        self._done(name, total, count)

    def say(self, line: str, style: str = "") -> None:
        self.console.print(Text(line, style=style), soft_wrap=True)

    def download(self, name: str, done: int, total: int) -> None:
        """A `downloads.Tell`: a line a tenth."""
        step = max(total // 10, 1 << 20)
        if done // step != (done - (1 << 20)) // step:
            self.say(f"fetching {name}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")

    def _done(self, name: str, total: int, count: Count | None) -> None:
        took = f"{self.seconds[name]:.1f} s"
        if count is None:
            self.say(f"{name:<12} {took:>8}")
        else:
            done, failed = count()
            rate = done / max(self.seconds[name], 1e-9)
            self.say(f"{name:<12} {took:>8}  {done:,} of {total:,} images, {rate:,.0f}/s, {failed:,} failed")

    def _bar(self, name: str, total: int, count: Count | None, began: float, over: threading.Event) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description:<12}"), BarColumn(), _Detail())
        with Progress(*columns, console=self.console, transient=True) as progress:
            bar: TaskID = progress.add_task(name, total=total or None, detail="")
            while not over.wait(BEAT):
                if count is not None:
                    done, failed = count()
                    detail = describe(done, total, failed, time.monotonic() - began)
                    progress.update(bar, completed=done, detail=detail)

    def _lines(self, name: str, total: int, count: Count | None, began: float, over: threading.Event) -> None:
        while not over.wait(LINE):
            seconds = time.monotonic() - began
            if count is None:
                self.say(f"{name}: {seconds:.0f} s")
            else:
                self.say(f"{name}: {describe(*_order(count(), total), seconds)}")


def _order(done_failed: tuple[int, int], total: int) -> tuple[int, int, int]:
    return done_failed[0], total, done_failed[1]


class _Detail(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        return Text(task.fields["detail"] or f"{task.elapsed or 0:.0f} s")
