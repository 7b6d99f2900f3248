"""What a pod of a job run printed, line by line; as it comes, if wanted."""

from __future__ import annotations

import time
from collections.abc import Iterator

from verger.emr.logs import Logs
from verger.emr.service import ENDED, Emr
from verger.errors import SettingsError, VergerError


def lines(
    emr: Emr, cluster: str, run: str, executor: int | None, submitter: bool, interval: float | None
) -> Iterator[str]:
    """The lines; with an interval in seconds, until the run has ended."""
    described = emr.run(cluster, run)
    logs = Logs.of(described, emr.aws)
    if logs is None:
        raise SettingsError(f"{run}: started without --log-uri or --log-group, so that its logs went with its pods")
    printed = False
    while True:
        state = described["state"]  # what is printed until the end is read after it
        for line in logs.submitter() if submitter else logs.driver() if executor is None else logs.executor(executor):
            printed = True
            yield line
        if interval is None or state in ENDED:
            break
        time.sleep(interval)
        described = emr.run(cluster, run)
    if not printed:
        whose = "the submitter" if submitter else "the driver" if executor is None else f"executor {executor}"
        raise VergerError(f"{run}: no log of {whose} yet ({state}); EMR writes it a minute after the pod: try again")
