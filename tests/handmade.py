"""Releases as the chart makes them, without Helm: a Job whose pod is the driver, in a namespace of the tests' own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.test_image import IMAGE
from tests.webidentity import kubectl

VERGER = str(Path(sys.executable).with_name("verger"))
NAMES = {"app.kubernetes.io/name": "verger"}
RESTRICTED = {
    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
}  # fmt: skip
POD = {"runAsNonRoot": True, "runAsUser": 185, "fsGroup": 185, "seccompProfile": {"type": "RuntimeDefault"}}
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]
SPARK = {
    "spark.master": "k8s://https://kubernetes.default.svc", "spark.driver.host": "$(POD_IP)",
    "spark.kubernetes.driver.pod.name": "$(POD_NAME)", "spark.kubernetes.namespace": "$(SPACE)",
    "spark.kubernetes.container.image": IMAGE, "spark.kubernetes.container.image.pullPolicy": "Never",
    "spark.kubernetes.executor.podTemplateFile": "/template/executor.json",
    "spark.kubernetes.executor.podTemplateContainerName": "spark-kubernetes-executor",
    "spark.kubernetes.executor.request.cores": "100m", "spark.executor.instances": "1",
    "spark.executor.memory": "500m", "spark.executor.memoryOverhead": "500m", "spark.driver.memory": "500m",
    "spark.scheduler.maxRegisteredResourcesWaitingTime": "1s",
}  # fmt: skip


@dataclass(frozen=True)
class Space:
    """A namespace, and what the tests do in it."""

    name: str

    def apply(self, *manifests: dict[str, Any]) -> None:
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        subprocess.run(["kubectl", "-n", self.name, "apply", "-f", "-"], input=given, text=True, check=True)

    def verger(self, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """`verger kubernetes ...`"""
        command = [VERGER, "kubernetes", words[0], "-n", self.name, *words[1:]]
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)

    def get(self, *words: str) -> str:
        return kubectl("-n", self.name, "get", *words)


def labels(release: str, component: str) -> dict[str, str]:
    return NAMES | {"app.kubernetes.io/instance": release, "app.kubernetes.io/component": component}


def release(name: str, script: str, deadline: int = 600, init: list[str] | None = None, **given: Any) -> dict[str, Any]:
    """A Job whose driver runs a script of the shell; `given` is the container's own."""
    container = {
        "image": IMAGE, "imagePullPolicy": "Never", "securityContext": RESTRICTED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }  # fmt: skip
    driver = {**container, "name": "spark-kubernetes-driver", "args": ["bash", "-c", script], **given}
    spec = {
        "restartPolicy": "Never", "securityContext": POD, "containers": [driver], "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "initContainers": [{**container, "name": "started", "args": init}] if init else [],
    }  # fmt: skip
    template = {"metadata": {"labels": labels(name, "driver")}, "spec": spec}
    return {
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": f"{name}-verger", "labels": NAMES | {"app.kubernetes.io/instance": name}},
        "spec": {"backoffLimit": 0, "activeDeadlineSeconds": deadline, "template": template},
    }  # fmt: skip


def spark_release(name: str, *words: str, **conf: str) -> list[dict[str, Any]]:
    """A Job that runs Verger on Spark, on a folder that is in the image; `conf` has __ for dots."""
    settings = SPARK | {"spark.kubernetes.executor.podNamePrefix": name}
    settings |= {f"spark.{key.replace('__', '.')}": value for key, value in conf.items()}
    given = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    places = ["--images", "/opt/verger", "--store", "/tmp/store", "--results", "/tmp/results"]
    fields = {
        "POD_IP": "status.podIP", "SPARK_DRIVER_BIND_ADDRESS": "status.podIP",
        "POD_NAME": "metadata.name", "SPACE": "metadata.namespace",
    }  # fmt: skip
    job = release(
        name, "", args=["driver", *given, "/opt/verger/main.py", "run", *places, *words],
        env=[{"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in fields.items()],
        volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}, {"name": "template", "mountPath": "/template"}],
        resources={"requests": {"cpu": "100m", "memory": "500Mi"}, "limits": {"memory": "3Gi"}},
    )  # fmt: skip
    pod = job["spec"]["template"]["spec"]
    pod["volumes"].append({"name": "template", "configMap": {"name": name}})
    executor = {"name": "spark-kubernetes-executor", "securityContext": RESTRICTED, "volumeMounts": [
        {"name": "tmp", "mountPath": "/tmp"}
    ]}  # fmt: skip
    template = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"labels": labels(name, "executor")},
        "spec": {
            "automountServiceAccountToken": False, "securityContext": POD, "containers": [executor],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }  # fmt: skip
    data = {"executor.json": json.dumps(template)}
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}, job]


def allowed(space: str, account: str = "default") -> list[dict[str, Any]]:
    """What a driver needs: its executors, and its own Job's deadline."""
    group = "rbac.authorization.k8s.io"
    rules = [
        {
            "apiGroups": [""],
            "resources": ["pods", "configmaps", "services", "persistentvolumeclaims"],
            "verbs": VERBS,
        },
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["patch"]},
    ]
    subject = {"kind": "ServiceAccount", "name": account, "namespace": space}
    bound = {"roleRef": {"apiGroup": group, "kind": "Role", "name": "driver"}, "subjects": [subject]}
    role = {"apiVersion": f"{group}/v1", "metadata": {"name": "driver"}}
    return [role | {"kind": "Role", "rules": rules}, role | {"kind": "RoleBinding"} | bound]


def readable(log: str, first: str = "start") -> None:
    """A driver's log is the run's: nothing of Spark's or the JVM's, which have these in their lines."""
    lines = log.splitlines()
    assert lines
    others = (" WARN ", " INFO ", "WARNING", "\tat ", "java.")
    assert not [line for line in lines if any(sign in line for sign in others)], lines
    assert lines[0].startswith(first)
