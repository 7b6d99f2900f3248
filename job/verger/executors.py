"""Executors on Kubernetes that don't come, or die as soon as they are made: Spark would wait for them for ever.

While there is work and nobody to do it, the run says why, and ends when that lasts. It says why an executor died, too:
others do its tasks again, and may die of the same.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verger.errors import VergerError
from verger.fleet import Fleet
from verger.progress import Show

if TYPE_CHECKING:
    from pyspark import SparkContext

BEAT = 5.0  # seconds between two looks; an executor that is not there at both is none
NOTICE = 20.0  # seconds without executors before the run says why: a node that is started takes longer
GENERATIONS = 3  # of executors that died, while none lived, are enough
TAIL = 1 << 18  # bytes of Spark's log that are looked at
_EXIT = re.compile(r"exited with exit code (\d+)")
_REFUSED = re.compile(r"Message: (.+?)\.? Received status")


def recorded(context: SparkContext) -> Iterator[Any]:
    """Spark's own record of each executor (`ExecutorSummary`); of those that are gone, it remembers a hundred."""
    found: Any = context._jsc.sc().statusStore().executorList(False)
    yield from (each for each in map(found.apply, range(found.size())) if each.id() != "driver")


@contextmanager
def guarded(context: SparkContext, within: float, show: Show, log: Path) -> Iterator[None]:
    """End what runs inside, as a VergerError that says why, when on Kubernetes there is nobody to do its work."""
    if not str(context.master).startswith("k8s://"):
        yield
        return
    guard = Guard(context, within, show, log)
    thread = threading.Thread(target=guard.watch, name="verger-executors", daemon=True)
    thread.start()
    try:
        yield
    except Exception as error:  # whatever a statement raises when its Spark is stopped
        if guard.ended is None:
            raise
        raise VergerError(guard.ended) from error
    finally:
        guard.over.set()
        thread.join()


@dataclass
class Guard:
    context: SparkContext
    within: float
    show: Show
    log: Path
    over: threading.Event = field(default_factory=threading.Event)
    ended: str | None = None
    why: str | None = None  # the last reason that was seen: a pod that died is gone at the next look
    newest: int | None = None  # number of the newest executor when the wait began
    told: set[str] = field(default_factory=set)  # numbers of the lost ones that were looked at

    def watch(self) -> None:
        """Until the run is over, or is ended here."""
        before: set[str] = set()
        since: float | None = None  # when work began to wait
        while not self.over.wait(BEAT) and not self._spark.isStopped():
            self._tell_lost()
            now = self._alive()
            if now & before or not self._work():
                since = self.why = self.newest = None
            else:
                since = since or time.monotonic()
                self.ended = self._judge(time.monotonic() - since)
            before = now
            if self.ended is not None:
                self._spark.stop()
                return

    def _tell_lost(self) -> None:
        """Spark's word on each: their pods are gone within a second or two, so whoever looks at those may miss it."""
        for executor in recorded(self.context):
            if (reason := executor.removeReason()).isDefined() and executor.id() not in self.told:
                self.told.add(executor.id())
                if (why := loss(reason.get(), self._limit)) is not None:
                    self.show.say(f"executor {executor.id()} is lost, its tasks are done again: {why}")

    def _judge(self, waited: float) -> str | None:
        """What ends the run, or None while there is hope."""
        if waited < min(NOTICE, self.within):
            return None
        from verger.kubernetes.reasons import without_name  # with its client: a run that goes well does without

        why, newest = self._look()
        if why is not None:
            if self.why is None or without_name(why) != without_name(self.why):
                self.show.say(f"no executor yet: {why}")
            self.why = why
        self.newest = newest if self.newest is None else self.newest
        if newest - self.newest >= GENERATIONS * int(self.context.getConf().get("spark.executor.instances") or 1):
            return f"executors die as soon as they are made, {newest} so far: {self._reason}"
        if waited >= self.within:
            return f"no executor for {waited:.0f} s, --executors-within {self.within:g}: {self._reason}"
        return None

    def _look(self) -> tuple[str | None, int]:
        """Why there is no executor, as far as pods or Spark's log tell, and the number of the newest."""
        from verger.kubernetes import reasons
        from verger.kubernetes.cluster import connect, executors
        from verger.kubernetes.pods import EXECUTOR_ID, label

        try:
            pods = executors(connect(), self._namespace, str(self.context.applicationId))
        except VergerError as error:
            return str(error), self.newest or 0
        told = next((why for pod in reversed(pods) if (why := reasons.of_pod(pod)) is not None), None)
        if told is None and not pods:
            told = self._refused()
        return told, max((int(label(pod, EXECUTOR_ID) or 0) for pod in pods), default=self.newest or 0)

    def _refused(self) -> str | None:
        """The API server's last refusal of a pod: Spark logs it and tries again."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(log.seek(0, 2) - TAIL, 0))
                return refusal(log.read().decode(errors="replace"))
        except OSError:  # another log than ours: nothing is told
            return None

    @property
    def _reason(self) -> str:
        return (
            self.why or f"neither their pods nor Spark say why; see {self.log}, and `kubectl get pods` and its events"
        )

    @property
    def _limit(self) -> str:
        return f"{Fleet.of(dict(self.context.getConf().getAll())).executor.gb:g}Gi"

    @property
    def _namespace(self) -> str:
        return self.context.getConf().get("spark.kubernetes.namespace") or "default"

    @property
    def _spark(self) -> Any:
        """The JVM's own: Python's would be taken from under the statements that wait for it."""
        return self.context._jsc.sc()

    def _alive(self) -> set[str]:
        ids = self._spark.getExecutorIds()
        return {str(ids.apply(index)) for index in range(ids.size())}

    def _work(self) -> bool:
        return len(self.context.statusTracker().getActiveJobsIds()) > 0


def loss(said: str, limit: str) -> str | None:
    """Why an executor died, in what Spark said; None for one that Spark or its node took down in good order."""
    from verger.kubernetes import reasons

    if "was deleted by a user" in said:
        return "its pod was deleted"
    if (code := _EXIT.search(said)) is None or code[1] == "0":
        return None
    if int(code[1]) == reasons.KILLED or "OOMKilled" in said:
        return reasons.of_memory("executor", limit, certain="OOMKilled" in said)
    if "JVM OOM" in said:
        return "its heap was full; raise the executors' memory"
    return f"it ended with exit code {code[1]}"


def refusal(said: str) -> str | None:
    """What the API server refused last, in what Spark said; None where it refused nothing."""
    if not (found := _REFUSED.findall(said)):
        return None
    from verger.kubernetes import reasons

    return reasons.of_refusal(found[-1]) or f"the cluster refuses: {found[-1]}"
