"""What a driver or an executor printed."""

from __future__ import annotations

import time
from collections.abc import Iterator

from lightkube.resources.core_v1 import Pod

from verger.errors import SettingsError, VergerError
from verger.kubernetes.cluster import Release
from verger.kubernetes.pods import DRIVER, EXECUTOR_ID, component, label, name, phase
from verger.kubernetes.snapshot import Snapshot, take

BEAT = 1.0  # seconds between looks at a pod that has not begun


def logs(release: Release, executor: int | None, follow: bool) -> Iterator[str]:
    """The lines; with `follow` as they come, from a pod that may not have begun yet."""
    while True:
        snapshot = take(release)
        pod = _chosen(snapshot, executor)
        if pod is not None and phase(pod) != "Pending":
            break
        if not follow or snapshot.end is not None:
            raise VergerError(_not_there(snapshot))
        time.sleep(BEAT)
    container = DRIVER if component(pod) == "driver" else None
    yield from release.log(name(pod), container, follow=follow)


def _chosen(snapshot: Snapshot, executor: int | None) -> Pod | None:
    if executor is None:
        return snapshot.driver
    numbers = {label(pod, EXECUTOR_ID): pod for pod in snapshot.executors}
    if str(executor) in numbers:
        return numbers[str(executor)]
    there = ", ".join(sorted(numbers, key=int)) or "none"
    raise SettingsError(f"--executor {executor}: not there, its log went with its pod; there are now: {there}")


def _not_there(snapshot: Snapshot) -> str:
    why = (snapshot.end and snapshot.end.line) or snapshot.reason or "it waits to start; --follow waits with it"
    return f"{snapshot.release}: no log yet: {why}"
