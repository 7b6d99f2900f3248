"""What a pod says of itself: most of it may be missing in the API's types, and is empty here then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from lightkube.models.core_v1 import ContainerStateTerminated, ContainerStatus
from lightkube.resources.core_v1 import Pod

COMPONENT = "app.kubernetes.io/component"
EXECUTOR_ID = "spark-exec-id"
DRIVER = "spark-kubernetes-driver"  # the driver's container


def name(pod: Pod) -> str:
    return (pod.metadata and pod.metadata.name) or ""


def label(pod: Pod, key: str) -> str:
    labels: dict[str, str] = (pod.metadata and pod.metadata.labels) or {}
    return labels.get(key, "")


def component(pod: Pod) -> str:
    """`driver` or `executor`"""
    return label(pod, COMPONENT) or label(pod, "spark-role")


def name_of(pod: Pod) -> str:
    """`driver fruits-x7k2p`, `executor 3`"""
    number = label(pod, EXECUTOR_ID)
    return f"executor {number}" if number else f"{component(pod) or 'pod'} {name(pod)}"


def phase(pod: Pod) -> str:
    return (pod.status and pod.status.phase) or "Unknown"


def main(pod: Pod) -> ContainerStatus | None:
    """The container that Spark is in; others are what a cluster puts beside it."""
    statuses = (pod.status and pod.status.containerStatuses) or []
    return next((each for each in statuses if each.name == DRIVER), statuses[0] if statuses else None)


def end_of(pod: Pod) -> ContainerStateTerminated | None:
    """How Spark's container ended, once it has."""
    container = main(pod)
    return container.state.terminated if container is not None and container.state is not None else None


def status(pod: Pod) -> str:
    """In a word, as `kubectl get pods` says it."""
    if pod.metadata is not None and pod.metadata.deletionTimestamp is not None:
        return "Terminating"
    container, ended = main(pod), end_of(pod)
    waiting = container.state.waiting if container is not None and container.state is not None else None
    word = (waiting and waiting.reason) or (ended and ended.reason)
    return (pod.status and pod.status.reason) or word or phase(pod)


def driver_of(pods: Sequence[Pod]) -> Pod | None:
    """The newest one, of pods in the order in which they were made."""
    return next((pod for pod in reversed(pods) if component(pod) == "driver"), None)


def age(pod: Pod) -> str:
    """`42s`, `7m`, `3h`"""
    made = pod.metadata and pod.metadata.creationTimestamp
    if not isinstance(made, datetime):
        return ""
    seconds = int((datetime.now(UTC) - made).total_seconds())
    return f"{seconds}s" if seconds < 120 else f"{seconds // 60}m" if seconds < 7200 else f"{seconds // 3600}h"
