"""The job on a real Kubernetes, where executors were not given the token that the driver has: test_e2e has the others.

The cluster of kubectl's context runs pods on this machine, and has the image that VERGER_TEST_IMAGE names.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.handmade import POD, RESTRICTED, SPARK, Space, allowed
from tests.s3server import Bucket, standing_before
from tests.test_image import IMAGE, TARGET
from tests.webidentity import AUDIENCE, READ, WRITE, WebIdentity, kubectl, web_identity

ADDRESS = os.environ.get("VERGER_TEST_ADDRESS", "")
pytestmark = [
    pytest.mark.s3,
    pytest.mark.spark,
    pytest.mark.skipif(
        not (IMAGE and ADDRESS and TARGET == "spark"),
        reason="VERGER_TEST_IMAGE names no `spark` image in the cluster, or VERGER_TEST_ADDRESS no address of this "
        "machine that pods reach",
    ),
]
TOKEN = "/var/run/secrets/sts/token"


@pytest.fixture
def cluster(bucket: Bucket, tmp_path: Path) -> Iterator[WebIdentity]:
    with web_identity(bucket.s3, tmp_path) as made:
        yield made


def pod(name: str, environment: dict[str, str], token: bool, **container: Any) -> dict[str, Any]:
    """A pod with a place to write, AWS's variables, and perhaps the token that they name."""
    variables = [{"name": key, "value": value} for key, value in environment.items()]
    projected = {"serviceAccountToken": {"path": "token", "audience": AUDIENCE}}
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]
    if token:
        volumes.append({"name": "sts", "projected": {"sources": [projected]}})
        mounts.append({"name": "sts", "mountPath": str(Path(TOKEN).parent)})
    main = {
        "name": name, "image": IMAGE, "imagePullPolicy": "Never", "securityContext": RESTRICTED,
        "env": [*variables, *container.pop("env", [])], "volumeMounts": [*mounts, *container.pop("volumeMounts", [])],
        **container,
    }  # fmt: skip
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "serviceAccountName": "runner", "restartPolicy": "Never", "securityContext": POD,
            "volumes": volumes, "containers": [main],
        },
    }  # fmt: skip


def ran(cluster: WebIdentity, bucket: Bucket) -> tuple[str, str]:
    """Run the job in the cluster: the phase that the driver's pod ends in, and what it printed."""
    space = cluster.namespace
    with standing_before(bucket.s3.server, ADDRESS) as door, standing_before(bucket.s3.iam, ADDRESS) as sts:
        cluster.token("runner")
        role = cluster.role("runner", bucket, images=READ, store=WRITE, results=WRITE)
        environment = cluster.environment(role, Path(TOKEN)) | {"AWS_ENDPOINT_URL_STS": sts.url}
        executor = pod("executor", environment, token=False)
        executor["spec"]["automountServiceAccountToken"] = False
        conf = SPARK | {
            "spark.kubernetes.driver.pod.name": "driver", "spark.kubernetes.namespace": space,
            "spark.kubernetes.authenticate.executor.serviceAccountName": "runner",
            "spark.kubernetes.executor.podTemplateContainerName": "executor",
            "spark.executor.memory": "1g", "spark.executor.memoryOverhead": "1g", "spark.driver.memory": "1g",
            "spark.task.maxFailures": "1",
        }  # fmt: skip
        words = [word for key, value in conf.items() for word in ("--conf", f"{key}={value}")]
        job = ["/opt/verger/main.py", "run", *bucket.places(), *bucket.s3.options(door.url), "--components", "5"]
        ip = {"fieldRef": {"fieldPath": "status.podIP"}}
        driver = pod(
            "driver", environment, token=True, args=["driver", *words, *job],
            env=[{"name": name, "valueFrom": ip} for name in ("POD_IP", "SPARK_DRIVER_BIND_ADDRESS")],
            volumeMounts=[{"name": "template", "mountPath": "/template"}],
        )  # fmt: skip
        driver["spec"]["volumes"].append({"name": "template", "configMap": {"name": "template"}})
        template = {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "template"},
            "data": {"executor.json": json.dumps(executor)},
        }  # fmt: skip
        Space(space).apply(*allowed(space, "runner"), template, driver)
        return ended(space), kubectl("-n", space, "logs", "driver")


def ended(namespace: str, seconds: float = 240) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        phase = kubectl("-n", namespace, "get", "pod", "driver", "-o", "jsonpath={.status.phase}")
        if phase in ("Succeeded", "Failed"):
            return phase
        time.sleep(1)
    raise AssertionError(kubectl("-n", namespace, "describe", "pods"))


def test_an_executor_without_a_token_reads_nothing_though_the_driver_has_one(
    cluster: WebIdentity, bucket: Bucket, orchard: Path
) -> None:
    bucket.upload(orchard, "images")
    phase, printed = ran(cluster, bucket)
    assert phase == "Failed", printed
    told = [line for line in printed.splitlines() if line.startswith("verger: ")]
    assert told == [
        f"verger: {TOKEN}: an executor has no such token, and so no identity; mount the service account's token in the "
        "executors' pods too, where AWS_WEB_IDENTITY_TOKEN_FILE says"
    ], printed
    assert bucket.requests("GetObject", under="images/") == []
    assert not bucket.objects("results")
