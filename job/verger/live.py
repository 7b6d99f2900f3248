"""How a run elsewhere is shown while it is watched: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from verger.errors import Away
from verger.progress import Told

LAST = 8  # lines of the driver's log that are shown, and that a watch begins with

Look = TypeVar("Look")


@contextmanager
def shown(
    console: Console, picture: Callable[[Look], RenderableType], plain: Callable[[Look], None]
) -> Iterator[Callable[[Look], None]]:
    """What is to be told of each look at a run: `picture` draws it, `plain` says what has changed."""
    if not console.is_terminal:
        yield plain
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda look: live.update(picture(look), refresh=True)


def looks(
    take: Callable[[Look | None], Look], over: Callable[[Look], bool], console: Console, interval: float
) -> Iterator[Look]:
    """Each look at a run, taken with the one before it, to the one at which it is over; an interval in seconds between.

    Who does not answer is waited for, once the run was seen.
    """
    seen: Look | None = None
    while seen is None or not over(seen):
        if seen is not None:
            time.sleep(interval)
        try:
            seen = take(seen)
        except Away as error:
            if seen is None:
                raise
            say(console, f"{error}; trying again")
            continue
        yield seen


def stage(told: Told) -> RenderableType:
    """Its name, how far it is, and what it says."""
    row = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=told.total, completed=told.done, width=40) if told.total else ""
    row.add_row(Text(told.stage, style="bold"), bar, Text(told.detail))
    return row


def last(lines: Iterable[str]) -> list[RenderableType]:
    """The last lines of a log."""
    return [Text(line, style="dim", no_wrap=True) for line in [*lines][-LAST:]]


def say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)
