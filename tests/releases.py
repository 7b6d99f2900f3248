"""Runs that helm installs into the cluster of kubectl's context, on an S3 server that is in it as well."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import clusterserver, s3server
from tests.charts import CHART, helm
from tests.clusterserver import S3_IMAGE, ClusterS3
from tests.s3server import Bucket
from tests.support import eventually
from tests.test_image import IMAGE, TARGET
from tests.webidentity import WebIdentity, kubectl, web_identity

NEEDS = pytest.mark.skipif(
    not (IMAGE and S3_IMAGE and TARGET == "spark" and shutil.which("helm")),
    reason="VERGER_TEST_IMAGE names no `spark` image in the cluster, or VERGER_TEST_S3_IMAGE none of k8s/s3, or "
    "helm is not on the PATH",
)
# Seconds for what is over in one or two minutes on a machine that has nothing else to do.
PATIENCE = 600.0
# As little CPU as it takes: test clusters are small.
SMALL = {"coreRequest": "100m", "memory": "1g", "memoryOverhead": "1g"}
ONE = {"executor": SMALL | {"instances": 1, "cores": 1}}


@dataclass
class Cloud:
    """A server with one bucket, and a namespace of the restricted profile."""

    s3: ClusterS3
    bucket: Bucket
    identity: WebIdentity

    @property
    def namespace(self) -> str:
        return self.identity.namespace

    def values(self, role: str, **settings: Any) -> dict[str, Any]:
        """A run by a role, in this cloud."""
        places = {name: self.bucket.url(name) for name in ("images", "store", "results")}
        own = {"endpoint": self.s3.inside("s3"), "attest_region": s3server.REGION, "allow_http": True}
        repository, _, tag = IMAGE.partition(":")
        return {
            "image": {"repository": repository, "tag": tag or "latest", "pullPolicy": "Never"},
            "aws": {"roleArn": role, "stsEndpoint": self.s3.inside("iam")},
            "driver": SMALL,
            "executor": SMALL | {"instances": 2, "cores": 1},
            "settings": places | own | settings,
        }


@contextmanager
def cloud(folder: Path) -> Iterator[Cloud]:
    with clusterserver.serving(folder) as s3, web_identity(s3, folder) as identity:
        yield Cloud(s3, s3.bucket(), identity)


@dataclass
class Release:
    """A release, from `helm install` to `helm uninstall`."""

    name: str
    namespace: str

    def install(self, values: dict[str, Any]) -> Release:
        done = self.asked(values)
        assert done.returncode == 0, done.stderr
        return self

    def asked(self, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """What `helm install` says."""
        return helm("install", self.name, str(CHART), "--namespace", self.namespace, given=values)

    def test(self, timeout: str = "5m") -> subprocess.CompletedProcess[str]:
        return helm("test", self.name, "--namespace", self.namespace, "--timeout", timeout)

    def uninstall(self) -> None:
        done = helm("uninstall", self.name, "--namespace", self.namespace, "--wait")
        assert done.returncode == 0, done.stderr

    def watch(self) -> subprocess.Popen[str]:
        """`verger kubernetes watch` on its way."""
        return subprocess.Popen(
            [Path(sys.executable).with_name("verger"), "kubernetes", "watch", self.name, "-n", self.namespace],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def watched(self, timeout: float = PATIENCE) -> tuple[int, str]:
        """The exit code of `verger kubernetes watch`, and what it said."""
        process = self.watch()
        said, _ = process.communicate(timeout=timeout)
        return process.returncode, said

    def objects(self, kind: str, component: str = "") -> list[dict[str, Any]]:
        selector = f"app.kubernetes.io/instance={self.name}"
        selector += f",app.kubernetes.io/component={component}" if component else ""
        found = json.loads(kubectl("-n", self.namespace, "get", kind, "-l", selector, "-o", "json"))
        items: list[dict[str, Any]] = found["items"]
        return items

    def running(self, component: str, number: int, seconds: float = PATIENCE) -> list[dict[str, Any]]:
        """That many pods, once they run."""

        def pods() -> list[dict[str, Any]]:
            return [pod for pod in self.objects("pods", component) if ready(pod)]

        self.until(lambda: len(pods()) >= number, seconds)
        return pods()

    def until(self, what: Callable[[], bool], seconds: float = PATIENCE) -> None:
        eventually(what, seconds, 0.5, lambda: self.log() + kubectl("-n", self.namespace, "describe", "pods"))

    def log(self) -> str:
        """The driver's log, as `kubectl logs` has it."""
        pods = self.objects("pods", "driver")
        return kubectl("-n", self.namespace, "logs", pods[0]["metadata"]["name"]) if pods else "no driver's pod\n"

    def left(self) -> list[str]:
        """What is there of the release, beyond what Kubernetes gives to every namespace."""
        kinds = (
            "pods,jobs,services,endpointslices,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies,"
            "resourcequotas,persistentvolumeclaims"
        )
        listed = kubectl("-n", self.namespace, "get", kinds, "-o", "name").split()
        return [name for name in listed if name not in ("configmap/kube-root-ca.crt", "serviceaccount/default")]


def ready(pod: dict[str, Any]) -> bool:
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod["status"].get("conditions", [])
    )


def secure(pod: dict[str, Any], token_of_the_api_server: bool) -> None:
    """What the chart promises of a pod, on the object that runs."""
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 185
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    mounted = {mount["mountPath"] for each in spec["containers"] for mount in each["volumeMounts"]}
    assert ("/var/run/secrets/kubernetes.io/serviceaccount" in mounted) == token_of_the_api_server
    for each in [*spec["containers"], *spec.get("initContainers", [])]:
        assert each["securityContext"]["readOnlyRootFilesystem"] is True
        assert each["securityContext"]["allowPrivilegeEscalation"] is False
        assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    variables = {each["name"]: each.get("value") for each in spec["containers"][0]["env"]}
    assert "AWS_ACCESS_KEY_ID" not in variables
    token = variables["AWS_WEB_IDENTITY_TOKEN_FILE"]
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    said = kubectl(
        "-n", namespace, "exec", name, "--", "sh", "-c", f"id -u; head -c 3 {token}; echo; touch /x 2>&1 || true"
    )
    assert said.split()[:2] == ["185", "eyJ"], said
    assert "Read-only file system" in said


def told(sky: Cloud, results: str = "results") -> dict[str, Any]:
    """The run's own account, in its results."""
    read: dict[str, Any] = json.loads(sky.bucket.read(f"{results}/run.json"))
    return read
