"""Objects as Kubernetes 1.34 gave them for Jobs like the chart's: `pods`, `jobs` and `events` by what was wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Event, Pod


def _read(kind: str) -> dict[str, Any]:
    given: dict[str, Any] = json.loads(Path(__file__).with_name(f"{kind}.json").read_text())
    return given


PODS, JOBS, EVENTS = _read("pods"), _read("jobs"), _read("events")


def pod(name: str) -> Pod:
    return cast(Pod, Pod.from_dict(PODS[name]))


def job(name: str) -> Job:
    return cast(Job, Job.from_dict(JOBS[name]))


def events(name: str) -> list[Event]:
    return [cast(Event, Event.from_dict(each)) for each in EVENTS[name]]


def event(reason: str, message: str, minute: int) -> Event:
    """One of a pod x."""
    given = {
        "metadata": {"name": f"x.{minute}"}, "involvedObject": {"kind": "Pod", "name": "x"}, "reason": reason,
        "message": message, "lastTimestamp": f"2026-11-25T01:{minute:02}:00Z",
    }  # fmt: skip
    return cast(Event, Event.from_dict(given))
