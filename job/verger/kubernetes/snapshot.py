"""A release at one moment: its pods, how far the run is, why it does not go on, and its end. Pure, but for `take`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Event, Pod

from verger.errors import RUN_SAYS, SettingsError
from verger.kubernetes import reasons
from verger.kubernetes.cluster import Release
from verger.kubernetes.pods import DRIVER, component, driver_of, end_of, name, name_of, phase, status
from verger.progress import Told

LINES = 200  # of the driver's log that are asked for: more than it writes between two looks
ENDED = {"COMPLETED": True, "FAILED": False, "SUBMISSION_FAILED": False}  # the operator's states
STOPPED = 143  # 128 + SIGTERM
DELETED = "the driver's pod was deleted; run again, what was committed to the store is kept"
NOT_FOUND = "driver pod not found"  # the operator's words for it
SUBMISSION = 30.0  # seconds in which an operator that is there has run spark-submit


@dataclass(frozen=True)
class End:
    """How a run ended; `line` is None where it ended well."""

    code: int
    line: str | None = None


@dataclass(frozen=True)
class Line:
    """A line of the driver's log; `time` as the kubelet wrote it."""

    time: str
    text: str


@dataclass(frozen=True)
class Snapshot:
    release: str
    pods: tuple[Pod, ...]
    log: tuple[Line, ...] = ()
    reason: str | None = None
    end: End | None = None

    @property
    def driver(self) -> Pod | None:
        return driver_of(self.pods)

    @property
    def executors(self) -> tuple[Pod, ...]:
        return tuple(pod for pod in self.pods if component(pod) == "executor")

    @property
    def counts(self) -> Counter[str]:
        """The executors by what they are at."""
        return Counter(status(pod) for pod in self.executors)

    @property
    def started(self) -> bool:
        return self.driver is not None and phase(self.driver) in ("Running", "Succeeded", "Failed")

    @property
    def told(self) -> Told | None:
        """The last stage that the driver told of."""
        return next((told for line in reversed(self.log) if (told := Told.read(line.text)) is not None), None)


def take(release: Release) -> Snapshot:
    """Ask the cluster; a SettingsError where there is no such release."""
    job = release.job()
    application = None if job else release.application()
    pods = release.pods()
    if job is None and application is None and not pods:
        where = f"namespace {release.namespace} of {release.client.config.context_name}"
        raise SettingsError(
            f"{release.name}: no such release in {where}; `helm list --all-namespaces` shows those there are"
        )
    driver = driver_of(pods)
    log: tuple[Line, ...] = ()
    if driver is not None and phase(driver) != "Pending":
        lines = release.log(name(driver), DRIVER, tail_lines=LINES, timestamps=True)
        log = tuple(Line(*line.partition(" ")[::2]) for line in lines)
    running = driver is not None and phase(driver) == "Running"
    events = [] if running else release.events(owner(job, application, pods))
    reason = why(pods, events) or (unattended(application) if application and not pods else None)
    return Snapshot(release.name, tuple(pods), log, reason, ended(job, application, driver, log, reason))


def why(pods: list[Pod], events: list[Event]) -> str | None:
    """Why the run does not go on: the driver's word first, for without it there are no executors."""
    driver = driver_of(pods)
    if driver is not None and (said := reasons.of_pod(driver)) is not None:
        return said
    never_made = driver is not None and (end := end_of(driver)) is not None and end.reason == reasons.NEVER_MADE
    if driver is None or phase(driver) == "Pending" or never_made:
        return reasons.of_events(events)
    return next((said for pod in pods if (said := reasons.of_pod(pod)) is not None), None)


def unattended(application: dict[str, Any]) -> str | None:
    """What may keep the operator from making a driver, when it has said nothing for long."""
    if (application.get("status") or {}).get("applicationState"):
        return None
    made = application["metadata"]
    age = datetime.now(UTC) - datetime.fromisoformat(made["creationTimestamp"])
    if age.total_seconds() < SUBMISSION:
        return None
    return (
        f"{made['name']}: the operator has made no driver yet; it must run, and watch namespace {made['namespace']} "
        "(its value spark.jobNamespaces)"
    )


def ended(
    job: Job | None, application: dict[str, Any] | None, driver: Pod | None, log: tuple[Line, ...], reason: str | None
) -> End | None:
    """The run's end, from whoever knows most: the driver's container, the Job, the operator."""
    orphan = job is None and application is None
    if driver is not None and orphan and status(driver) == "Terminating":  # what had it made is gone, and it goes
        return End(1, f"{name_of(driver)}: its release was uninstalled; what was committed to the store is kept")
    conditions = {each.type: each for each in (job and job.status and job.status.conditions) or []}
    limit = job and job.spec and job.spec.activeDeadlineSeconds
    if any(each.reason == "DeadlineExceeded" for each in conditions.values()):  # the driver is being killed for it
        past = f"ended by its deadline of {limit} s"
        return End(1, f"{past}: {reason}" if reason else f"{past}; raise the deadline, and run again")
    if driver is not None and (end := _end_of(driver, log, reason)) is not None:
        return end
    if "Complete" in conditions:
        return End(0)
    if (failed := conditions.get("Failed")) is not None:
        if driver is None and failed.reason == "BackoffLimitExceeded":  # else its pod would be kept, and tell
            return End(1, DELETED)
        return End(1, reason or f"{failed.message or failed.reason}; see the Job's events")
    state = ((application or {}).get("status") or {}).get("applicationState") or {}
    if (well := ENDED.get(state.get("state", ""))) is not None:
        told = " ".join(str(state.get("errorMessage") or state["state"]).split())
        return End(0) if well else End(1, reason or _of_operator(told))
    return None


def _of_operator(told: str) -> str:
    return DELETED if told == NOT_FOUND else reasons.of_refusal(told) or f"the operator says: {told}"


def _end_of(driver: Pod, log: tuple[Line, ...], reason: str | None) -> End | None:
    terminated = end_of(driver)
    if terminated is None and phase(driver) == "Failed":  # an init container failed, or the node refused the pod
        return End(
            1, reason or f"{name_of(driver)}: failed before it started; see `kubectl describe pod {name(driver)}`"
        )
    if terminated is None:
        return None
    if terminated.exitCode == 0:
        return End(0)
    if terminated.exitCode == STOPPED:  # the run itself was only told to end
        return End(STOPPED, reason or DELETED)
    said = _said([*(terminated.message or "").splitlines(), *(line.text for line in log)])
    otherwise = f"{name_of(driver)}: ended with exit code {terminated.exitCode}; see its log"
    return End(terminated.exitCode, said or reason or otherwise)


def _said(lines: list[str]) -> str | None:
    """The run's own last word."""
    own = [line.removeprefix(RUN_SAYS) for line in lines if line.startswith(RUN_SAYS)]
    return own[-1] if own else None


def owner(job: Job | None, application: dict[str, Any] | None, pods: list[Pod]) -> str:
    """The name that the names of its pods begin with."""
    if job is not None:
        return (job.metadata and job.metadata.name) or ""
    if application is not None:
        return str(application["metadata"]["name"])
    return name(pods[0])
