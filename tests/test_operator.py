"""`runner: operator` on Kubeflow's operator itself, installed by its own chart with the values of k8s/operator."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.charts import helm
from tests.handmade import readable
from tests.releases import NEEDS, PATIENCE, Cloud, Release, cloud, secure, told
from tests.support import eventually
from tests.templates import filled
from tests.test_chart_cluster import served
from tests.test_kubernetes_setup import apply
from tests.webidentity import READ, WRITE, kubectl, new_namespace

OPERATOR = os.environ.get("VERGER_TEST_OPERATOR", "")
pytestmark = [
    pytest.mark.kubernetes,
    NEEDS,
    pytest.mark.skipif(
        not OPERATOR,
        reason="VERGER_TEST_OPERATOR names no folder with the operator's chart (target `chart` of "
        "k8s/operator/Dockerfile, whose image is in the cluster as verger-operator)",
    ),
]
IMAGE = {"registry": "docker.io", "repository": "library/verger-operator", "tag": "latest", "pullPolicy": "Never"}
GOOD = {"images": READ, "store": WRITE, "results": WRITE}


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory, orchard: Path) -> Iterator[Cloud]:
    """A bucket with 64 drawn images, and the operator looking after its namespace."""
    assert not served(), "the cluster has the operator's kinds already: they would go with all that there is of them"
    with cloud(tmp_path_factory.mktemp("cloud")) as made, new_namespace("operator") as own:
        made.bucket.upload(orchard, "images")
        quotas = filled("operator/quotas.yaml", NAMESPACE=made.namespace, OPERATOR_NAMESPACE=own)
        assert apply(quotas).returncode == 0
        values = yaml.safe_load(filled("operator/values.yaml", NAMESPACE=made.namespace)) | {"image": IMAGE}
        done = helm("install", "operator", OPERATOR, "--namespace", own, "--wait", "--timeout", "3m", given=values)
        assert done.returncode == 0, done.stderr + kubectl("-n", own, "describe", "pods")
        until_answered(made.namespace)
        try:
            yield made
        finally:
            helm("uninstall", "operator", "--namespace", own, "--wait")
            kubectl("delete", "--wait=false", "--ignore-not-found", "-f", f"{OPERATOR}/crds")


def until_answered(namespace: str) -> None:
    """Wait for the webhook, without which no application is taken: its pod is ready some seconds before it listens."""
    kind = {"apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication"}
    own = {"metadata": {"name": "any", "namespace": namespace}}
    file = {"type": "Python", "sparkVersion": "4.1.2", "mainApplicationFile": "local:///any.py"}
    application = json.dumps(kind | own | {"spec": file | {"driver": {}, "executor": {}}})
    eventually(lambda: apply(application, "--dry-run=server").returncode == 0, 120, 1)


def state(release: Release) -> str:
    """The operator's word for how the run is."""
    (application,) = release.objects("sparkapplications")
    return str(application["status"]["applicationState"]["state"])


def test_the_operator_runs_a_release_as_hardened_as_a_job(sky: Cloud) -> None:
    values = sky.values(sky.identity.role("runner", sky.bucket, **GOOD), components=5)
    release = Release("by-operator", sky.namespace)
    before = release.left()  # the operator's own roles
    release.install(values | {"runner": "operator", "serviceAccount": {"name": "runner"}})
    watching = release.watch()
    secure(release.running("driver", 1)[0], token_of_the_api_server=True)
    for executor in release.running("executor", 2):
        secure(executor, token_of_the_api_server=False)
    said, _ = watching.communicate(timeout=PATIENCE)
    print(said, release.log(), sep="\n--- log\n")
    assert watching.returncode == 0
    assert told(sky)["images"] == {"listed": 64, "embedded": 64, "reused": 0, "failed": 0}
    release.until(lambda: state(release) == "COMPLETED")  # the operator looks at the driver after its end
    tested = release.test()
    assert tested.returncode == 0, tested.stdout + tested.stderr
    readable(release.log(), first="as arn:aws:sts::")
    release.uninstall()
    assert release.left() == before


def test_what_fails_by_the_operator_is_one_line(sky: Cloud) -> None:
    role = sky.identity.role("someone-else", sky.bucket, **GOOD)
    release = Release("wrong-role", sky.namespace)
    before = release.left()
    release.install(sky.values(role, components=5) | {"runner": "operator"})
    code, said = release.watched()
    print(said)
    assert code == 1
    assert "role" in said.splitlines()[-1]
    assert release.test().returncode != 0
    assert not [pod for pod in release.objects("pods") if pod["status"]["phase"] in ("Pending", "Running")]
    release.uninstall()
    assert release.left() == before


def test_an_application_that_no_quota_has_room_for_is_refused_as_it_is_installed(sky: Cloud) -> None:
    kubectl("-n", sky.namespace, "create", "quota", "small", "--hard=requests.memory=1Gi")
    counted = r"jsonpath={.status.hard.requests\.memory}=1Gi"
    kubectl("-n", sky.namespace, "wait", "quota/small", f"--for={counted}", "--timeout=60s")
    values = sky.values("arn:aws:iam::000000000000:role/none", components=5) | {"runner": "operator"}
    try:
        done = Release("too-much", sky.namespace).asked(values)
        assert done.returncode != 0
        print(done.stderr)
        assert "quota" in done.stderr
    finally:
        kubectl("-n", sky.namespace, "delete", "quota", "small")
        helm("uninstall", "too-much", "--namespace", sky.namespace)
