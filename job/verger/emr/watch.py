"""Look at a job run again and again until it ends; its exit code becomes this command's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from verger import live
from verger.emr.logs import Logs
from verger.emr.service import ENDED, Emr
from verger.emr.view import Look, shown
from verger.errors import RUN_SAYS, Away, RunFailed, VergerError

KEPT = 500  # of the log's last lines
# Spark's submission client tells how the driver's container ended (KubernetesUtils.containersDescription).
_EXIT = re.compile(r"container name: spark-kubernetes-driver(?:(?!container name:).)*?exit code: (\d+)", re.DOTALL)
_SAID = re.compile(r"exit code:? (\d+)|exited with (\d+)", re.IGNORECASE)


def watch(emr: Emr, cluster: str, run: str, console: Console, interval: float) -> None:
    """Show a job run until it ends; how it ended is raised, unless it ended well."""
    with shown(console) as tell:
        for look in _looks(emr, cluster, run, console, interval):
            tell(look)
    ended(emr, look)


def look_once(emr: Emr, cluster: str, run: str, console: Console) -> None:
    """Show a job run as it is; how it ended is raised, if it has ended, and not well."""
    described = emr.run(cluster, run)
    look = _look(described, Logs.of(described, emr.aws))
    with shown(console) as tell:
        tell(look)
    ended(emr, look)


def _looks(emr: Emr, cluster: str, run: str, console: Console, interval: float) -> Iterator[Look]:
    """Each look, the last one at the end of the run."""
    logs: Logs | None = None

    def look(before: Look | None) -> Look:
        nonlocal logs
        described = emr.run(cluster, run)
        logs = logs or Logs.of(described, emr.aws)
        return _look(described, logs, before.log if before else ())

    return live.looks(look, lambda seen: seen.run["state"] in ENDED, console, interval)


def _look(described: dict[str, Any], logs: Logs | None, before: tuple[str, ...] = ()) -> Look:
    """The driver's log is there some time after the driver; one that can't be read is told, and ends no watch."""
    new: list[str] = []
    try:
        for line in logs.driver() if logs else ():
            new.append(line)  # one by one: what was read before an error is not read again
    except Away:  # the next look goes on from here
        pass
    except VergerError as error:
        told = f"no log: {error}"
        new += [] if told in before else [told]
    return Look(described, (*before, *new)[-KEPT:], tuple(new))


def ended(emr: Emr, look: Look) -> None:
    """RunFailed for a job run that has ended, and not well: what EMR says, and what the driver said last."""
    run = look.run
    if run["state"] not in ENDED or run["state"] == "COMPLETED":
        return
    said = last_error(look.log)
    line = f"job run {run['id']}: {look.state}" + (f"; the driver's last error: {said}" if said else "")
    raise RunFailed(line, _exit_code(emr, run) if run["state"] == "FAILED" else 1)


def last_error(log: tuple[str, ...]) -> str | None:
    """The line of Verger's own error, else the last one that looks like an error of Spark or Python."""
    for line in reversed(log):
        if line.startswith(RUN_SAYS):
            return line.removeprefix(RUN_SAYS)
    return next((line.strip() for line in reversed(log) if re.search(r"\w(Error|Exception)\b|\bERROR\b", line)), None)


def _exit_code(emr: Emr, run: dict[str, Any]) -> int:
    """The driver's, where Spark's submission client or EMR has told it; else 1. EMR has no field for it."""
    logs = Logs.of(run, emr.aws)
    try:
        told = _EXIT.findall("\n".join(logs.submitter())) if logs else []
    except VergerError:  # the log is not ours to read: EMR's word has to do
        told = []
    if told:
        return int(told[-1]) or 1
    found = _SAID.search(run.get("stateDetails") or "")
    return (int(found[1] or found[2]) or 1) if found else 1
