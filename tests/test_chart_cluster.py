"""What the chart makes, as a real API server and its schemas take it: strict on unknown fields."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests import kubeschemas
from tests.charts import EXAMPLES, HELM, NEEDS_HELM
from tests.webidentity import kubectl, new_namespace

CRDS = os.environ.get("VERGER_TEST_CRDS", "")
pytestmark = [pytest.mark.kubernetes, NEEDS_HELM]


@pytest.fixture(scope="module")
def crd() -> Path:
    """The SparkApplication of Kubeflow's operator."""
    if not CRDS:
        pytest.skip("VERGER_TEST_CRDS names no file with the CustomResourceDefinition of SparkApplication")
    return Path(CRDS)


def served() -> bool:
    """Whether the cluster knows the operator's kind."""
    command = ["kubectl", "get", "--raw", "/apis/sparkoperator.k8s.io/v1beta2/sparkapplications"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def schemas(kube_schemas: Path, crd: Path) -> Path:
    return kubeschemas.add_custom(kube_schemas, crd)


@pytest.fixture(scope="module")
def namespace(crd: Path) -> Iterator[str]:
    """An empty namespace, and the operator's kind; both go again, unless the kind was there before."""
    there = served()
    if not there:
        kubectl("apply", "--server-side", "-f", str(crd))
    end = time.monotonic() + 30
    while not served():
        assert time.monotonic() < end
        time.sleep(0.2)
    with new_namespace() as name:
        kubectl("-n", name, "create", "serviceaccount", "fruits-test")  # a pod is admitted after its account only
        yield name
    if not there:
        kubectl("delete", "-f", str(crd))


def manifests(example: Path) -> str:
    """What an example makes, but for the PodMonitor: no cluster here knows it."""
    documents = [each for each in yaml.safe_load_all((HELM / "rendered" / example.name).read_text()) if each]
    return yaml.safe_dump_all(each for each in documents if each["kind"] != "PodMonitor")


def applied(namespace: str, given: str) -> subprocess.CompletedProcess[str]:
    """Asked of the API server, which checks everything and keeps nothing."""
    command = ["kubectl", "-n", namespace, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_kubeconform_finds_nothing_wrong(schemas: Path, example: Path) -> None:
    assert kubeschemas.check(schemas, manifests(example)) == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_the_api_server_takes_it(namespace: str, example: Path) -> None:
    given = manifests(example).replace("namespace: runs", f"namespace: {namespace}")
    done = applied(namespace, given)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


def test_both_refuse_a_field_that_nobody_knows(schemas: Path, namespace: str) -> None:
    """The two tests above can fail."""
    operator = manifests(HELM / "examples" / "operator.yaml")
    wrong = operator.replace("sparkVersion:", "sparkVersions: 1\n  sparkVersion:")
    assert wrong != operator
    assert any("sparkVersions" in line for line in kubeschemas.check(schemas, wrong))
    done = applied(namespace, wrong.replace("namespace: runs", f"namespace: {namespace}"))
    assert ".spec.sparkVersions: field not declared in schema" in done.stderr
