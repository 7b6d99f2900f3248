"""What is told of pods that don't run, from objects as a real cluster gave them (tests/recorded)."""

from __future__ import annotations

import pytest
from verger.kubernetes import reasons

from tests.recorded import PODS, event, events, pod

ABSENT = "create it in this namespace, or correct its name"
PULL = (
    'image registry.invalid/verger:1.0 can\'t be pulled: Head "https://registry.invalid/v2/verger/manifests/1.0": dial '
    "tcp: lookup registry.invalid on 10.255.255.53:53: no such host; correct the image, or give its pull secret"
)
OF_PODS = {
    "backoff": PULL,
    "badname": 'image Registry/Verger:1:2: couldn\'t parse image name "Registry/Verger:1:2": invalid reference format: '
    "repository name (Verger) must be lowercase; correct the image's name",
    "big": "no node takes it: 0/1 nodes are available: 1 Insufficient cpu; ask for less, or for other nodes",
    "command": "its command can't be started: exec: \"/no/such/file\": stat /no/such/file: no such file or directory; "
    "correct the image or the command",
    "done": None,
    "evicted": "evicted: Pod ephemeral local storage usage exceeds the total limit of containers 20Mi; give it more of "
    "that, or move it to a node that has more",
    "fails": None,  # it says why itself
    "init": "init container started failed: jobs.batch x is forbidden",
    "mount": None,  # only events say why
    "never": "image verger:nowhere: not on the node, and imagePullPolicy is Never; load it there, or let it be pulled",
    "oom": "out of memory, its limit is 128Mi; raise the driver's memoryOverhead",
    "pvc": 'no node takes it: 0/1 nodes are available: persistentvolumeclaim "absent" not found; ask for less, or for '
    "other nodes",
    "secret": f'secret "absent" not found; {ABSENT}',
    "selector": "no node takes it: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector; ask "
    "for less, or for other nodes",
}  # fmt: skip
OF_EVENTS = {
    "admission": 'the namespace\'s Pod Security "restricted:latest" refuses the pod: allowPrivilegeEscalation != '
    "false, unrestricted capabilities, runAsNonRoot != true, seccompProfile; correct its securityContext",
    "late": None,  # the deadline alone: the Job says that
    "mount": f'configmap "absent" not found; {ABSENT}',
    "pull": PULL,
    "quota": "no room in quota small: asks for requests.cpu=50m, used is requests.cpu=0, the limit requests.cpu=10m; "
    "raise the quota, or ask for less",
    "sa": "service account absent: not in this namespace; create it, or correct its name",
}  # fmt: skip


def test_all_that_was_recorded_is_looked_at() -> None:
    assert set(OF_PODS) == set(PODS)


@pytest.mark.parametrize(("name", "line"), OF_PODS.items())
def test_a_pod_says_why_it_does_not_run(name: str, line: str | None) -> None:
    said = reasons.of_pod(pod(name))
    assert said == (line and f"driver {PODS[name]['metadata']['name']}: {line}")


@pytest.mark.parametrize(("name", "line"), OF_EVENTS.items())
def test_events_say_why_where_no_pod_does(name: str, line: str | None) -> None:
    said = reasons.of_events(events(name))
    assert (said and said.partition(": ")[2]) == line
    assert said is None or said.startswith("driver")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            'pods "x" is forbidden: failed quota: small: must specify limits.cpu for: main; requests.cpu for: main',
            "quota small wants limits.cpu for: main; requests.cpu for: main to be set; set it",
        ),
        (
            'admission webhook "validate.kyverno.svc-fail" denied the request: \n\npolicy Pod/x: require labels',
            "admission webhook validate.kyverno.svc-fail refuses the pod: policy Pod/x: require labels; do as it says",
        ),
        (
            'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
            "the namespace's LimitRange refuses the pod: maximum memory usage per Container is 1Gi, but limit is 2Gi; "
            "ask for what it allows",
        ),
        (
            'pods is forbidden: User "system:serviceaccount:a:b" cannot create resource "pods" in API group ""',
            'system:serviceaccount:a:b may not create resource "pods"; give it a Role that allows it',
        ),
        ("connection refused", None),
    ],
)
def test_a_refusal_of_the_api_server(message: str, line: str | None) -> None:
    assert reasons.of_refusal(message) == line


def test_the_newest_event_that_says_something_is_told() -> None:
    older = event("FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.", minute=1)
    newer = event("FailedMount", 'MountVolume.SetUp failed for volume "v" : secret "s" not found', minute=2)
    newest = event("Pulled", "Container image is there", minute=3)
    assert reasons.of_events([newer, newest, older]) == f'driver x: secret "s" not found; {ABSENT}'


def test_a_config_map_that_spark_is_about_to_make_is_no_reason() -> None:
    missing = 'MountVolume.SetUp failed for volume "v" : configmap "{}" not found'
    soon = event("FailedMount", missing.format("by-operator-d19d19a219928a01-driver-podspec-conf-map"), minute=1)
    assert reasons.of_events([soon]) is None
    never = event("FailedMount", missing.format("mine"), minute=1)
    assert reasons.of_events([never]) == f'driver x: configmap "mine" not found; {ABSENT}'


@pytest.mark.parametrize("name", PODS)
def test_every_reason_is_one_line_with_a_remedy(name: str) -> None:
    said = reasons.of_pod(pod(name))
    assert said is None or (len(said.splitlines()) == 1 and ("; " in said or "init container" in said))
