"""What Spark says of executors that were refused, or died. The guard is tested in real clusters: test_e2e and
test_kubernetes_watch."""

from __future__ import annotations

import pytest
from verger.executors import loss, refusal

SAID = (
    "01:42:23.685 WARN ExecutorPodsSnapshotsStoreImpl: Exception when notifying snapshot subscriber.\n"
    "io.fabric8.kubernetes.client.KubernetesClientException: Failure executing: POST at: "
    "https://kubernetes.default.svc/api/v1/namespaces/watch-q/pods. Message: {message}. Received status: "
    "Status(apiVersion=v1, code=403, details=StatusDetails(causes=[], group=null, kind=pods), message={message})\n"
)
QUOTA = 'pods "q-exec-1" is forbidden: exceeded quota: small, requested: pods=1, used: pods={used}, limited: pods=1'


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", None),
        ("01:42:11 WARN NativeCodeLoader: Unable to load native-hadoop library\n", None),
        (
            SAID.format(message=QUOTA.format(used=3)) + SAID.format(message=QUOTA.format(used=1)),
            "no room in quota small: asks for pods=1, used is pods=1, the limit pods=1; raise the quota, or ask for "
            "less",
        ),
        (
            SAID.format(message='pods is forbidden: User "a" cannot create resource "pods" in API group ""'),
            'a may not create resource "pods"; give it a Role that allows it',
        ),
        (SAID.format(message="unable to create pod"), "the cluster refuses: unable to create pod"),
    ],
)
def test_the_last_refusal_of_the_api_server_is_told(log: str, line: str | None) -> None:
    assert refusal(log) == line


EXITED = (
    "\nThe executor with id 2 exited with exit code {code}.\n\n\n\nThe API gave the following container statuses:\n\n\n"
    "\t container name: spark-kubernetes-executor\n\t container image: verger:1\n\t container state: terminated\n"
    "\t container started at: 2026-11-27T00:10:11Z\n\t container finished at: 2026-11-27T00:11:12Z\n"
    "\t exit code: {number}\n\t termination reason: {reason}\n      "
)
KILLED = "137(SIGKILL, possible container OOM)"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            EXITED.format(code=KILLED, number=137, reason="OOMKilled"),
            "out of memory, its limit is 4Gi; raise the executors' memoryOverhead",
        ),
        (
            EXITED.format(code=KILLED, number=137, reason="Error"),
            "killed from outside, perhaps for its memory (its limit is 4Gi); raise the executors' memoryOverhead",
        ),
        (
            EXITED.format(code="52(JVM OOM)", number=52, reason="Error"),
            "its heap was full; raise the executors' memory",
        ),
        (EXITED.format(code="1", number=1, reason="Error"), "it ended with exit code 1"),
        (EXITED.format(code="0", number=0, reason="Completed"), None),
        ("The executor with id 1 was deleted by a user or the framework.", "its pod was deleted"),
        ("Executor killed by driver.", None),
        ("Executor decommission: spot node", None),
    ],
)
def test_what_an_executor_died_of_is_told_if_it_did(said: str, line: str | None) -> None:
    assert loss(said, "4Gi") == line
