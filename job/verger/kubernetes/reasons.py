"""Why a pod does not run, in one line: the value, the rule, the remedy. Pure functions of what the API server says.

A pod says most itself (`of_pod`). Where there is none, or none any more, events say it (`of_events`), or whoever was
refused when it made the pod (`of_refusal`): the Job's controller, or Spark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime

from lightkube.models.core_v1 import Container, ContainerState, ContainerStatus
from lightkube.resources.core_v1 import Event, Pod

from verger.errors import RUN_SAYS
from verger.kubernetes.pods import component, name_of

IMAGE = (
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
    "RegistryUnavailable", "SignatureValidationFailed",
)  # fmt: skip
NOT_CREATED = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
NOT_STARTED = ("StartError", "ContainerCannotRun")
KILLED = 137  # 128 + SIGKILL
NEVER_MADE = "ContainerStatusUnknown"  # and 137: the pod was taken down before this container was there

# What containerd and the kubelet put before the registry's own word.
_WRAPPED = re.compile(
    r'Back-off pulling image "[^"]*"(: )?|ErrImagePull: |rpc error: code = \w+ desc = |Failed to pull image "[^"]*": |'
    r'failed to pull and unpack image "[^"]*": |failed to resolve reference "[^"]*": |failed to do request: |'
    r'failed to resolve image "[^"]*": |Failed to apply default image tag "[^"]*": |Error response from daemon: '
)
_QUOTA = re.compile(
    r"exceeded quota: (?P<quota>[^,\s]+), requested: (?P<asked>.+), used: (?P<used>.+), "
    r"limited: (?P<limit>[^\s;]+?)\.?(?=[\s;]|$)"
)
_UNSET = re.compile(r"failed quota: (?P<quota>[^:\s]+): must specify (?P<what>.+?)(?=\. |$)")
_SECURITY = re.compile(r'violates PodSecurity "(?P<level>[^"]+)": (?P<what>.+)')
_WEBHOOK = re.compile(r'admission webhook "(?P<name>[^"]+)" denied the request: (?P<what>[^\n]+)')
_ACCOUNT = re.compile(r"serviceaccount \"(?P<name>[^\"]+)\" not found")
_RANGE = re.compile(r"(?P<what>(?:minimum|maximum) \S+ usage per \w+ is [^\n]+?)(?:\.|\]|$)")
_SOON = re.compile(r'configmap "[^"]+-conf-map" not found')  # spark-submit and Spark make a pod's ConfigMaps after it
_RIGHT = re.compile(r'User "(?P<user>[^"]+)" cannot (?P<what>\w+ resource "[^"]+")')


def without_name(reason: str) -> str:
    """A reason without the name of its pod: the next executor has another, and the same reason."""
    return reason.partition(": ")[2] or reason


def of_pod(pod: Pod) -> str | None:
    """Why this pod does not run, or was ended by somebody else; None where all is well, or the run itself ended it."""
    if pod.status is None:
        return None
    why = _of_status(pod) or _of_containers(pod) or _of_scheduling(pod)
    return f"{name_of(pod)}: {why}" if why else None


def _of_status(pod: Pod) -> str | None:
    """What the kubelet or the node's controller did to the whole pod."""
    status, word = pod.status, (pod.status and pod.status.reason) or ""
    assert status is not None
    said = _line(status.message or "")
    if word == "Evicted":
        return f"evicted: {said.rstrip('. ')}; give it more of that, or move it to a node that has more"
    if word == "DeadlineExceeded":
        return f"took longer than its deadline: {said}; raise the deadline"
    if word in ("NodeLost", "NodeShutdown", "Terminated", "Shutdown"):
        return f"its node is gone: {said or word}; run again, what was committed is kept"
    if word.startswith("OutOf") or word in ("NodeAffinity", "UnexpectedAdmissionError"):
        return f"its node refused it: {said or word}; run again, or choose other nodes"
    for condition in status.conditions or []:
        if condition.type == "DisruptionTarget" and condition.status == "True":
            said = _line(condition.message or condition.reason or "")
            return f"its node took it away: {said}; run again, what was committed is kept"
    return None


def _of_containers(pod: Pod) -> str | None:
    assert pod.spec is not None
    assert pod.status is not None
    specs = {container.name: container for container in [*(pod.spec.initContainers or []), *pod.spec.containers]}
    for status in [*(pod.status.initContainerStatuses or []), *(pod.status.containerStatuses or [])]:
        if (why := _of_container(pod, status, specs.get(status.name))) is not None:
            return why
    for status in pod.status.initContainerStatuses or []:
        ended = status.state and status.state.terminated
        if ended and ended.exitCode != 0:
            last = (ended.message or "").strip().splitlines()[-1:] or [f"exit code {ended.exitCode}"]
            return f"init container {status.name} failed: {last[0].removeprefix(RUN_SAYS)}"
    return None


def _of_container(pod: Pod, status: ContainerStatus, spec: Container | None) -> str | None:
    state = status.state or ContainerState()
    if (waiting := state.waiting) is not None and waiting.reason in IMAGE:
        return _of_image((spec and spec.image) or status.image, waiting.reason, waiting.message or "")
    if waiting is not None and waiting.reason in NOT_CREATED:
        return f"{_line(waiting.message or waiting.reason)}; create it in this namespace, or correct its name"
    if (ended := state.terminated) is not None and ended.reason in NOT_STARTED:
        return f"its command can't be started: {_last(ended.message or '')}; correct the image or the command"
    if ended is not None and ended.reason == NEVER_MADE:
        return None
    if ended is not None and (ended.reason == "OOMKilled" or ended.exitCode == KILLED):
        limits = (spec and spec.resources and spec.resources.limits) or {}
        return of_memory(component(pod), str(limits.get("memory", "")), ended.reason == "OOMKilled")
    return None


def of_memory(component: str, limit: str, certain: bool = True) -> str:
    """A container that was killed: by the kernel for its memory, which the kubelet doesn't always know."""
    limited = f"its limit is {limit}" if limit else "its node had no more"
    said = f"out of memory, {limited}" if certain else f"killed from outside, perhaps for its memory ({limited})"
    whose = {"driver": "the driver's", "executor": "the executors'"}.get(component, "its")
    return f"{said}; raise {whose} memoryOverhead"


def _of_image(image: str, reason: str, message: str) -> str:
    if reason == "InvalidImageName":
        return f"image {image}: {_cause(message)}; correct the image's name"
    if reason == "ErrImageNeverPull":
        return f"image {image}: not on the node, and imagePullPolicy is Never; load it there, or let it be pulled"
    return f"image {image} can't be pulled: {_cause(message) or reason}; correct the image, or give its pull secret"


def _of_scheduling(pod: Pod) -> str | None:
    assert pod.status is not None
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return of_scheduler(condition.message or condition.reason or "")
    return None


def of_scheduler(message: str) -> str:
    """The scheduler's word without its afterword on preemption and claims."""
    said = re.split(r"[.,] (?:no new claims|preemption|not found)", _line(message))[0].rstrip(".")
    return f"no node takes it: {said}; ask for less, or for other nodes"


def of_refusal(message: str) -> str | None:
    """Why the API server refused to make a pod; None when that is not what `message` tells."""
    text = _line(message)
    if (quota := _QUOTA.search(text)) is not None:
        return (
            f"no room in quota {quota['quota']}: asks for {quota['asked']}, used is {quota['used']}, "
            f"the limit {quota['limit']}; raise the quota, or ask for less"
        )
    if (unset := _UNSET.search(text)) is not None:
        return f"quota {unset['quota']} wants {unset['what']} to be set; set it"
    if (security := _SECURITY.search(text)) is not None:
        what = re.sub(r" \([^)]*\)", "", security["what"])
        return (
            f'the namespace\'s Pod Security "{security["level"]}" refuses the pod: {what}; correct its securityContext'
        )
    if (webhook := _WEBHOOK.search(text)) is not None:
        return f"admission webhook {webhook['name']} refuses the pod: {webhook['what']}; do as it says"
    if (account := _ACCOUNT.search(text)) is not None:
        return f"service account {account['name']}: not in this namespace; create it, or correct its name"
    if (right := _RIGHT.search(text)) is not None:
        return f"{right['user']} may not {right['what']}; give it a Role that allows it"
    if (limits := _RANGE.search(text)) is not None:
        return f"the namespace's LimitRange refuses the pod: {limits['what']}; ask for what it allows"
    return None


def of_events(events: Iterable[Event]) -> str | None:
    """What the newest event of a run's owner and its pods says; one that says nothing of use is passed over."""
    for event in sorted(events, key=_when, reverse=True):
        if (why := _of_event(event)) is not None:
            name = event.involvedObject.name or ""
            pod = event.involvedObject.kind == "Pod"
            return f"{'executor' if '-exec-' in name else 'driver'}{f' {name}' if pod else ''}: {why}"
    return None


def _of_event(event: Event) -> str | None:
    message = event.message or ""
    told: dict[str, Callable[[], str | None]] = {
        "FailedCreate": lambda: of_refusal(message) or f"no pod could be made: {_line(message)}; see the Job",
        "FailedScheduling": lambda: of_scheduler(message),
        "FailedMount": lambda: _of_mount(message),
        "ErrImageNeverPull": lambda: _of_image(_quoted(message), "ErrImageNeverPull", message),
        "InspectFailed": lambda: _of_image(_quoted(message), "InvalidImageName", message),
        "Evicted": lambda: f"evicted: {_line(message).rstrip('. ')}; give it more of that",
        "Failed": lambda: _of_failure(message),
    }
    return told.get(event.reason or "", lambda: None)()


def _of_mount(message: str) -> str | None:
    return None if _SOON.search(message) else f"{_last(message)}; create it in this namespace, or correct its name"


def _of_failure(message: str) -> str | None:
    """The kubelet's `Failed` is said of all it can't do; what comes after `Error:` may be but the name of a state."""
    if message.startswith("Failed to pull image"):
        return _of_image(_quoted(message), "ErrImagePull", message)
    said = message.removeprefix("Error: ")
    if said in IMAGE or not said:
        return None
    return f"{_last(said)}; correct that, and run again"


def _when(event: Event) -> str:
    made = event.metadata and event.metadata.creationTimestamp
    times = (event.lastTimestamp, event.eventTime, event.firstTimestamp, made)
    return max((time.isoformat() for time in times if isinstance(time, datetime)), default="")


def _quoted(message: str) -> str:
    found = re.search(r'"([^"]+)"', message)
    return found[1] if found else ""


def _cause(message: str) -> str:
    return _WRAPPED.sub("", _line(message)).strip()


def _last(message: str) -> str:
    """The end of a chain of causes, where the cause is."""
    line = re.sub(r": unknown$", "", _line(message))
    return re.split(r'(?:MountVolume\.\w+ failed for volume "[^"]*" : |unable to start container process: )', line)[-1]


def _line(text: str) -> str:
    return " ".join(text.split())
