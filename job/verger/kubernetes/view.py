"""How a release is shown: a live picture on a terminal, elsewhere a line for each thing that changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from lightkube.resources.core_v1 import Pod
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from verger import live
from verger.errors import RUN_SAYS
from verger.kubernetes.pods import age, name, name_of, status
from verger.kubernetes.reasons import without_name
from verger.kubernetes.snapshot import Line, Snapshot
from verger.live import LAST

EXECUTORS = 12  # rows of them; more are counted
STYLES = {"Running": "green", "Completed": "green", "Succeeded": "green", "Pending": "yellow"}
COMING = ("ContainerCreating", "PodInitializing", "Terminating")

Tell = Callable[[Snapshot], None]


def shown(console: Console) -> AbstractContextManager[Tell]:
    """What is to be told of each look at a release."""
    return live.shown(console, picture, Plain(console).tell)


def picture(snapshot: Snapshot) -> RenderableType:
    """Pods, stage, reason, the last lines."""
    pods = Table.grid(padding=(0, 2))
    if snapshot.driver is not None:
        pods.add_row(*_row(snapshot.driver))
    for pod in snapshot.executors[:EXECUTORS]:
        pods.add_row(*_row(pod))
    if len(snapshot.executors) > EXECUTORS:
        pods.add_row(f"of {len(snapshot.executors)} executors:", _counted(snapshot))
    parts: list[RenderableType] = [pods]
    if (told := snapshot.told) is not None:
        parts += ["", live.stage(told)]
    if snapshot.reason is not None and snapshot.end is None:
        parts += ["", Text(snapshot.reason, style="red")]
    if snapshot.log:
        parts += ["", *live.last(line.text for line in snapshot.log)]
    return Group(*parts)


def _row(pod: Pod) -> tuple[RenderableType, ...]:
    word = status(pod)
    style = STYLES.get(word, "yellow" if word in COMING else "red")
    node = (pod.spec and pod.spec.nodeName) or ""
    return Text(name_of(pod)), Text(word, style=style), Text(age(pod), style="dim"), Text(node, style="dim")


def _counted(snapshot: Snapshot) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(snapshot.counts.items()))


@dataclass
class Plain:
    """Says what changed since the last look."""

    console: Console
    before: list[str] = field(default_factory=list)
    reasons: set[str] = field(default_factory=set)
    last: str | None = None  # the time of the log's last line that was said

    def tell(self, snapshot: Snapshot) -> None:
        state = [*self._state(snapshot)]
        for line in state:
            if line not in self.before:
                self._say(line)
        self.before = state
        if snapshot.reason is not None and snapshot.end is None:
            what = without_name(snapshot.reason)
            if what not in self.reasons:
                self._say(snapshot.reason)
            self.reasons.add(what)
        for each in self._new(snapshot.log):
            if not each.text.startswith(RUN_SAYS):  # the run's error, which is told in the end
                self._say(each.text)

    def _state(self, snapshot: Snapshot) -> Iterator[str]:
        if snapshot.driver is None and snapshot.end is None:
            yield f"{snapshot.release}: no driver yet"
        elif snapshot.driver is not None:
            yield f"driver {name(snapshot.driver)}: {status(snapshot.driver)}"
        if snapshot.executors:
            yield f"executors: {_counted(snapshot)}"

    def _new(self, log: tuple[Line, ...]) -> tuple[Line, ...]:
        lines = log[-LAST:] if self.last is None else tuple(line for line in log if line.time > (self.last or ""))
        if log:
            self.last = log[-1].time
        return lines

    def _say(self, line: str) -> None:
        live.say(self.console, line)
