"""What is set up once (k8s/), in a real Kubernetes: that of kubectl's context, in namespaces of the tests' own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from verger import drawing

from tests import kubeschemas
from tests.clusterserver import S3_IMAGE, forwarded
from tests.s3server import run
from tests.templates import FOLDER, filled
from tests.test_setup import MANIFESTS
from tests.webidentity import AUDIENCE, kubectl

pytestmark = pytest.mark.kubernetes
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def apply(manifests: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["kubectl", "apply", "-f", "-", *options]
    return subprocess.run(command, input=manifests, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A namespace with all that the templates put into it."""
    name = f"setup-{uuid4().hex[:8]}"
    try:
        for template in ("namespace", "limits", "service-account", "emr/virtual-cluster"):
            done = apply(filled(f"{template}.yaml", NAMESPACE=name))
            assert done.returncode == 0, done.stderr
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def pod(namespace: str, resources: dict[str, Any] | None = None, **security: Any) -> str:
    """A pod of the restricted profile, but for what is given."""
    container = {
        "name": "one", "image": "verger", "resources": resources or {}, "securityContext": RESTRICTED | security,
    }  # fmt: skip
    spec = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 185, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    metadata = {"name": "one", "namespace": namespace}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


@pytest.mark.parametrize("template", MANIFESTS)
def test_a_manifest_says_what_the_api_server_knows(kube_schemas: Path, template: str) -> None:
    assert kubeschemas.check(kube_schemas, filled(template)) == []


def test_all_manifests_are_taken(namespace: str) -> None:
    for template in MANIFESTS:
        given = filled(template, NAMESPACE=namespace, S3_NAMESPACE=namespace)
        done = apply(given, "--dry-run=server", "--validate=strict")
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr, done.stderr


def test_a_container_that_asks_for_nothing_is_given_a_little(namespace: str) -> None:
    done = apply(pod(namespace), "--dry-run=server", "-o", "json")
    assert done.returncode == 0, done.stderr
    given = json.loads(done.stdout)["spec"]["containers"][0]["resources"]
    assert given == {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "256Mi"}}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"resources": {"requests": {"cpu": "49"}}}, "exceeded quota: runs, requested: requests.cpu=49"),
        ({"resources": {"limits": {"memory": "33Gi"}}}, "maximum memory usage per Container is 32Gi"),
        ({"privileged": True, "allowPrivilegeEscalation": True}, 'violates PodSecurity "restricted:latest"'),
        ({"runAsUser": 0}, 'violates PodSecurity "restricted:latest"'),
        ({"allowPrivilegeEscalation": True}, 'violates PodSecurity "restricted:latest"'),
        ({"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}, 'violates PodSecurity "restricted:latest"'),
    ],
    ids=str,
)
def test_a_pod_that_breaks_the_namespaces_rules_is_refused(namespace: str, changed: dict[str, Any], told: str) -> None:
    done = apply(pod(namespace, **changed))
    assert done.returncode != 0
    assert told in done.stderr


@pytest.mark.parametrize("kind", ["LoadBalancer", "NodePort"])
def test_nothing_is_opened_to_the_outside(namespace: str, kind: str) -> None:
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "open", "namespace": namespace},
        "spec": {"type": kind, "ports": [{"port": 80}], "selector": {"app": "one"}},
    }  # fmt: skip
    done = apply(json.dumps(service))
    assert done.returncode != 0
    assert "exceeded quota: runs" in done.stderr


def test_a_deployment_that_breaks_the_profile_is_warned_of(namespace: str) -> None:
    """Its pods would be refused later, and out of sight."""
    labels = {"app": "one"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "one", "image": "one"}]}}
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "one", "namespace": namespace},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }  # fmt: skip
    done = apply(json.dumps(deployment), "--dry-run=server")
    assert 'Warning: would violate PodSecurity "restricted:latest"' in done.stderr


def test_emr_may_start_runs_in_the_namespace_and_do_nothing_beyond_it(namespace: str) -> None:
    def may(*what: str) -> bool:
        command = ["kubectl", "auth", "can-i", *what, "--as", "emr-containers"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "yes"

    assert may("create", "pods", "-n", namespace)
    assert may("create", "jobs.batch", "-n", namespace)
    assert may("create", "rolebindings.rbac.authorization.k8s.io", "-n", namespace)
    assert not may("get", "secrets", "-n", namespace)
    assert not may("create", "pods", "-n", "default")
    assert not may("list", "nodes")


def test_emr_may_give_its_drivers_what_it_has_itself_and_no_more(namespace: str) -> None:
    def granted(resource: str, *verbs: str) -> subprocess.CompletedProcess[str]:
        rule = {"apiGroups": [""], "resources": [resource], "verbs": list(verbs)}
        role = {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": f"emr-{resource}", "namespace": namespace}, "rules": [rule],
        }  # fmt: skip
        return apply(json.dumps(role), "--as", "emr-containers")

    done = granted("pods", "get", "list", "watch", "describe", "create", "edit", "delete", "annotate", "patch", "label")
    assert done.returncode == 0, done.stderr
    refused = granted("secrets", "get")
    assert refused.returncode != 0
    assert "attempting to grant RBAC permissions not currently held" in refused.stderr


@pytest.mark.spark
@pytest.mark.skipif(not S3_IMAGE, reason="VERGER_TEST_S3_IMAGE names no image of k8s/s3/Dockerfile in the cluster")
def test_a_run_on_the_server_of_a_try_out_by_web_identity(tmp_path: Path) -> None:
    drawing.orchard(tmp_path / "images", 1)
    space = f"setup-{uuid4().hex[:8]}"
    names = {"NAMESPACE": space, "S3_NAMESPACE": f"{space}-s3", "S3_IMAGE": S3_IMAGE, "BUCKET": "orchard"}
    environment = os.environ | names | {"PYTHON": sys.executable, "IMAGES": str(tmp_path / "images")}
    try:
        for _ in range(2):  # once more changes nothing
            done = subprocess.run(
                [str(FOLDER / "s3/up")], env=environment, capture_output=True, text=True, timeout=240, check=False
            )
            assert done.returncode == 0, done.stderr
        told = dict(re.findall(r"^(\S+(?: account)?) +(.*)$", done.stdout, re.MULTILINE))
        assert told["service account"] == f"{space}/verger"
        assert told["--endpoint"].startswith(f"http://s3.{space}-s3.svc:7070 ")
        token = tmp_path / "token"
        token.write_text(kubectl("-n", space, "create", "token", "verger", "--audience", AUDIENCE))
        places = [f"--{place}=s3://orchard/{place}" for place in ("images", "store", "results")]
        with forwarded(tmp_path, f"{space}-s3") as ways:
            pod_has = {
                "AWS_ROLE_ARN": told["role"], "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
                "AWS_DEFAULT_REGION": "eu-west-3", "AWS_ENDPOINT_URL_STS": ways["iam"].url,
            }  # fmt: skip
            options = ["--endpoint", ways["s3"].url, *told["--endpoint"].split()[1:], "--components", "2"]
            ended = run(pod_has, "run", *places, *options)
        assert ended.code == 0, ended.lines
        assert "as arn:aws:sts::000000000000:assumed-role/verger/" in ended.lines[0]
        assert any("8 images: 8 embedded" in line for line in [*ended.lines, *ended.out.splitlines()])
    finally:
        subprocess.run([str(FOLDER / "s3/down")], env=environment, capture_output=True, check=True)
