"""What a run shows while it works: a live bar on a terminal, a plain line every few seconds elsewhere.

Plain lines are read as well, by whoever watches a run by its log: what writes one and what reads it are side by side.
"""

from __future__ import annotations

import re
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
        parts += [f"{rate:,.0f}/s", f"{max(total - done, 0) / rate:,.0f} s left"]
    return ", ".join([*parts, f"{failed:,} failed"])


def on_its_way(stage: str, seconds: float, count: tuple[int, int] | None, total: int) -> str:
    """`features: 1,200 of 4,207 images, 310/s, 10 s left, 3 failed`, or `listing: 5 s` where there are no counts."""
    if count is None:
        return f"{stage}: {seconds:.0f} s"
    done, failed = count
    return f"{stage}: {describe(done, total, failed, seconds)}"


def over(stage: str, seconds: float, count: tuple[int, int] | None, total: int) -> str:
    """`features       13.6 s  4,207 of 4,207 images, 310/s, 3 failed`"""
    took = f"{stage:<12} {f'{seconds:.1f} s':>8}"
    if count is None:
        return took
    done, failed = count
    return f"{took}  {done:,} of {total:,} images, {done / max(seconds, 1e-9):,.0f}/s, {failed:,} failed"


@dataclass(frozen=True)
class Told:
    """What one of these lines tells: a stage, and how far it is."""

    stage: str
    over: bool
    done: int = 0
    total: int = 0  # none where nothing is counted
    failed: int = 0
    rate: int | None = None
    detail: str = ""  # all but the stage, as it is written

    @classmethod
    def read(cls, line: str) -> Told | None:
        """None for a line that is none of a stage."""
        if (found := _TOLD.fullmatch(line.strip())) is None:
            return None
        counts = {name: _number(found[name]) for name in ("done", "total", "failed")}
        rate = _number(found["rate"]) if found["rate"] else None
        return cls(found["stage"], found["colon"] is None, **counts, rate=rate, detail=found["detail"])


_TOLD = re.compile(
    r"(?P<stage>[a-z]+)(?:(?P<colon>: )|\s+)(?P<detail>(?:(?P<seconds>[\d.]+ s)(?:\s+|$))?"
    r"(?:(?P<done>[\d,]+) of (?P<total>[\d,]+) images, (?:(?P<rate>[\d,]+)/s, )?(?:[\d,]+ s left, )?"
    r"(?P<failed>[\d,]+) failed)?)"
)


def _number(text: str | None) -> int:
    return int((text or "0").replace(",", ""))


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
        self.say(over(name, self.seconds[name], count and count(), total))

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
            self.say(on_its_way(name, time.monotonic() - began, count and count(), total))


class _Detail(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        return Text(task.fields["detail"] or f"{task.elapsed or 0:.0f} s")
