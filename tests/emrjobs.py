"""EMR on EKS as a cluster sees it: what becomes of a start-job-run request in a virtual cluster's namespace.

EMR makes service accounts, two ConfigMaps and a Job whose pod, the submitter, runs spark-submit in cluster mode. Names,
labels, mounts, security contexts and spark-defaults are those of a job of emr-6.8.0 (ssup2.github.io, "Spark on AWS
EKS") and of one of 2026 (apache/airflow#64817), without the fluentd sidecars, and with the class paths of 7.x. All is
made as the user `emr-containers`: by what k8s/emr/virtual-cluster.yaml allows.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import dataclass
from typing import Any

import yaml

from tests.handmade import RESTRICTED
from tests.templates import FOLDER
from tests.webidentity import AUDIENCE, kubectl

TOKEN = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
EMR = "emr-containers.amazonaws.com"
USER = {"runAsNonRoot": True, "runAsUser": 999, "runAsGroup": 1000, "privileged": False}
WRITABLE = {
    "emr-container-communicate": "/var/log/fluentd",
    "emr-container-application-log-dir": "/var/log/spark/user",
    "emr-container-event-log-dir": "/var/log/spark/apps",
    "temp-data-dir": "/tmp",
    "mnt-dir": "/mnt",
    "home-dir": "/home/hadoop",
}
CLASS_PATH = "/usr/lib/hadoop/hadoop-aws.jar:/usr/share/aws/aws-java-sdk-v2/*"
DEFAULTS = {
    "spark.master": "k8s://https://kubernetes.default.svc:443", "spark.submit.deployMode": "cluster",
    "spark.kubernetes.container.image.pullPolicy": "Never", "spark.dynamicAllocation.enabled": "false",
    "spark.kubernetes.driver.podTemplateFile": "/etc/spark/conf/driver-internal-pod.yaml",
    "spark.kubernetes.executor.podTemplateFile": "/etc/spark/conf/executor-internal-pod.yaml",
    "spark.kubernetes.driver.podTemplateContainerName": "spark-kubernetes-driver",
    "spark.kubernetes.executor.podTemplateContainerName": "spark-kubernetes-executor",
    "spark.driver.extraClassPath": CLASS_PATH, "spark.executor.extraClassPath": CLASS_PATH,
    "spark.authenticate": "true", "spark.hadoop.fs.defaultFS": "file:///",
    "spark.eventLog.enabled": "true", "spark.eventLog.dir": "file:///var/log/spark/apps",
    "spark.hadoop.fs.s3a.aws.credentials.provider":
        "software.amazon.awssdk.auth.credentials.WebIdentityTokenFileCredentialsProvider",
    # In the place of EMR's own committer.
    "spark.hadoop.fs.s3a.committer.name": "magic",
    "spark.sql.sources.commitProtocolClass": "org.apache.spark.internal.io.cloud.PathOutputCommitProtocol",
    "spark.sql.parquet.output.committer.class": "org.apache.spark.internal.io.cloud.BindingParquetOutputCommitter",
}  # fmt: skip
VERBS = ["get", "list", "watch", "create", "delete", "deletecollection", "patch"]


@dataclass(frozen=True)
class VirtualCluster:
    """A namespace that EMR may use. `environment` is what its pods have, beyond what EKS's webhook gives them."""

    namespace: str
    account: str
    role: str
    base36: str
    environment: dict[str, str]

    def service_account(self, part: str) -> str:
        """The name that EMR gives to the account of the `client` (the submitter), the `driver` or the `executor`."""
        return f"emr-containers-sa-spark-{part}-{self.account}-{self.base36}"

    def start(self, job: str, request: dict[str, Any]) -> None:
        """Make what EMR makes of a request: the job's accounts, its settings and its submitter."""
        driver = request["jobDriver"]["sparkSubmitJobDriver"]
        parameters = shlex.split(driver["sparkSubmitParameters"])
        words = [*parameters, driver["entryPoint"], *driver["entryPointArguments"]]
        given = {
            key: value
            for one in request["configurationOverrides"].get("applicationConfiguration", [])
            if one["classification"] == "spark-defaults"
            for key, value in one["properties"].items()
        }
        own = {
            "spark.kubernetes.namespace": self.namespace,
            "spark.kubernetes.driver.pod.name": f"spark-{job}-driver",
            "spark.kubernetes.authenticate.driver.serviceAccountName": self.service_account("driver"),
            "spark.kubernetes.authenticate.executor.serviceAccountName": self.service_account("executor"),
        }
        defaults = "".join(f"{key} {value}\n" for key, value in (DEFAULTS | given | own).items())
        templates = {f"{part}-internal-pod.yaml": self._template(job, part) for part in ("driver", "executor")}
        self._apply(*self._accounts())
        self._apply(
            self._config_map(job, f"{job}-spark-defaults", {"spark-defaults.conf": defaults}),
            self._config_map(job, f"podtemplate-{job}", templates),
            self._submitter(job, given["spark.kubernetes.container.image"], words),
        )

    def _apply(self, *manifests: dict[str, Any]) -> None:
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        command = ["kubectl", "--as", "emr-containers", "-n", self.namespace, "apply", "-f", "-"]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def _accounts(self) -> list[dict[str, Any]]:
        """The accounts of submitter, driver and executors, and what the first two may do."""
        group = "rbac.authorization.k8s.io"
        made: list[dict[str, Any]] = [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": self.service_account(part)}}
            for part in ("client", "driver", "executor")
        ]
        resources = ["pods", "configmaps", "services", "persistentvolumeclaims"]
        for part in ("client", "driver"):
            role = f"emr-containers-role-spark-{part}"
            binding = f"emr-containers-rb-spark-{part}-{self.account}-{self.base36}"
            rules = [{"apiGroups": [""], "resources": resources, "verbs": VERBS}]
            subject = {"kind": "ServiceAccount", "name": self.service_account(part), "namespace": self.namespace}
            bound = {"roleRef": {"apiGroup": group, "kind": "Role", "name": role}, "subjects": [subject]}
            made += [
                {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": role}, "rules": rules},
                {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": {"name": binding}, **bound},
            ]
        return made

    def _labels(self, job: str, component: str) -> dict[str, str]:
        return {
            f"{EMR}/job.id": job, f"{EMR}/virtual-cluster-id": "orchard",
            f"{EMR}/resource.type": "job.run", f"{EMR}/component": component,
        }  # fmt: skip

    def _config_map(self, job: str, name: str, data: dict[str, str]) -> dict[str, Any]:
        return {
            "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": name, "labels": self._labels(job, "configuration")},
        }  # fmt: skip

    def _template(self, job: str, part: str) -> str:
        """EMR's own template and, merged into it, the user's of k8s/emr/pods."""
        pod = self._pod(part, {"name": f"spark-kubernetes-{part}", "image": "given"})
        template = {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": self._labels(job, part)}, "spec": pod}
        users = yaml.safe_load((FOLDER / "emr/pods" / f"{part}.yaml").read_text())
        command = ["kubectl", "patch", "--local", "-f", "-", "-p", json.dumps(users), "-o", "yaml"]
        given = json.dumps(template)
        return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout

    def _pod(self, part: str, container: dict[str, Any]) -> dict[str, Any]:
        """What all of EMR's pods have, and what EKS's webhook adds for a role (IRSA)."""
        role = f"arn:aws:iam::{self.account}:role/{self.role}"
        identity = {"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": f"{TOKEN}/token"}
        variables = identity | {"AWS_STS_REGIONAL_ENDPOINTS": "regional"} | self.environment
        name = {"name": "SPARK_CONTAINER_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
        token = {"serviceAccountToken": {"path": "token", "audience": AUDIENCE}}
        mounts = [*({"name": name, "mountPath": path} for name, path in WRITABLE.items())]
        return {
            "serviceAccountName": self.service_account(part),
            "securityContext": {"fsGroup": 65534},
            "volumes": [
                *({"name": name, "emptyDir": {}} for name in WRITABLE),
                {"name": "aws-iam-token", "projected": {"sources": [token]}},
                *container.pop("volumes", []),
            ],
            "containers": [{
                **container,
                "imagePullPolicy": "Never",
                "securityContext": USER | RESTRICTED,
                "env": [name, *({"name": key, "value": value} for key, value in variables.items())],
                "volumeMounts": [
                    *mounts,
                    {"name": "aws-iam-token", "mountPath": TOKEN, "readOnly": True},
                    *container.get("volumeMounts", []),
                ],
            }],
        }  # fmt: skip

    def _submitter(self, job: str, image: str, words: list[str]) -> dict[str, Any]:
        defaults, templates = f"{job}-spark-defaults", f"podtemplate-{job}"
        conf = "/usr/lib/spark/conf/spark-defaults.conf"
        runner = {
            "name": "job-runner", "image": image, "args": ["/usr/lib/spark/bin/spark-submit", *words],
            "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
            "volumes": [{"name": name, "configMap": {"name": name}} for name in (defaults, templates)],
            "volumeMounts": [
                {"name": defaults, "mountPath": conf, "subPath": "spark-defaults.conf"},
                {"name": templates, "mountPath": "/etc/spark/conf"},
            ],
        }  # fmt: skip
        labels = self._labels(job, "job.submitter")
        pod = self._pod("client", runner) | {"restartPolicy": "Never"}
        return {
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job, "labels": labels},
            "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": pod}},
        }  # fmt: skip

    def pods(self, job: str) -> list[dict[str, Any]]:
        listed = kubectl("-n", self.namespace, "get", "pods", "-l", f"{EMR}/job.id={job}", "-o", "json")
        found: list[dict[str, Any]] = json.loads(listed)["items"]
        return found

    def log(self, job: str) -> str:
        """What the driver has printed."""
        return kubectl("-n", self.namespace, "logs", f"spark-{job}-driver")
