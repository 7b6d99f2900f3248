"""What Spark says of executors that were refused. The guard is tested in a real cluster: test_kubernetes_watch."""

from __future__ import annotations

import pytest
from verger.executors import refusal

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
