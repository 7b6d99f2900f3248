"""How a job run is shown: a live picture on a terminal, elsewhere a line for each thing that changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from verger import live
from verger.errors import RUN_SAYS
from verger.progress import Told

STYLES = {"RUNNING": "green", "COMPLETED": "green", "FAILED": "red", "CANCELLED": "red"}
_SPARKS_OWN = re.compile(r"\d\d/\d\d/\d\d \d\d:\d\d:\d\d (INFO|DEBUG|TRACE) ")


@dataclass(frozen=True)
class Look:
    """A job run at one moment; `log` is what its driver has printed so far, `new` what it has since the last look."""

    run: dict[str, Any]
    log: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """`RUNNING`, `FAILED (USER_ERROR): what EMR says of it`"""
        reason, said = self.run.get("failureReason"), str(self.run.get("stateDetails") or "").rstrip(".")
        return f"{self.run['state']}{f' ({reason})' if reason else ''}{f': {said}' if said else ''}"

    @property
    def told(self) -> Told | None:
        """The last stage that the driver told of."""
        return next((told for line in reversed(self.log) if (told := Told.read(line)) is not None), None)


def shown(console: Console) -> AbstractContextManager[Callable[[Look], None]]:
    """What is to be told of each look at a job run."""
    return live.shown(console, picture, Plain(console).tell)


def picture(look: Look) -> RenderableType:
    """State, stage, the last lines."""
    row = Table.grid(padding=(0, 2))
    run = look.run
    row.add_row(f"job run {run['id']}", Text(look.state, style=STYLES.get(run["state"], "yellow")), run.get("name", ""))
    parts: list[RenderableType] = [row]
    if (told := look.told) is not None:
        parts += ["", live.stage(told)]
    if log := [line for line in look.log if of_interest(line)]:
        parts += ["", *live.last(log)]
    return Group(*parts)


def of_interest(line: str) -> bool:
    """Neither Spark's own talk, nor the run's error, which is told in the end."""
    return not line.startswith(RUN_SAYS) and _SPARKS_OWN.match(line) is None


@dataclass
class Plain:
    """Says what changed since the last look."""

    console: Console
    before: str = ""
    seen: bool = field(default=False)

    def tell(self, look: Look) -> None:
        if look.state != self.before:
            live.say(self.console, f"job run {look.run['id']}: {look.state}")
        self.before = look.state
        lines = [line for line in look.new if of_interest(line)]
        for line in lines if self.seen else lines[-live.LAST :]:
            live.say(self.console, line)
        self.seen = True
