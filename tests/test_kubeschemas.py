"""The schemas that manifests are checked by: of the real API server, and of a CustomResourceDefinition."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kubeschemas import add_custom, check

pytestmark = pytest.mark.kubernetes

POD = """
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  containers:
    - name: one
      image: verger
      resources: {limits: {cpu: 2, memory: 1Gi}}
      livenessProbe: {httpGet: {path: /, port: 80}}
"""
CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: orchards.fruits.example}
spec:
  group: fruits.example
  names: {kind: Orchard, plural: orchards}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            apiVersion: {type: string}
            kind: {type: string}
            metadata: {type: object}
            spec:
              type: object
              properties:
                trees: {type: integer}
                height: {anyOf: [{type: integer}, {type: string}], x-kubernetes-int-or-string: true}
                notes: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {by: {type: string}}}
"""
ORCHARD = """
apiVersion: fruits.example/v1
kind: Orchard
metadata: {name: east}
spec: {trees: 3, height: 4m, notes: {by: me, on: Monday}}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("containers:", "containrs:", "containrs"),
        ("memory: 1Gi", "memory: [1]", "memory"),
        ("image: verger", "image: 4", "image"),
        ("      image: verger", "      imagePullPolicy: {}\n      image: null", "image"),
        ("kind: Pod", "kind: Poodle", "could not find schema for Poodle"),
    ],
)
def test_a_manifest_passes_and_one_with_a_mistake_does_not(
    kube_schemas: Path, right: str, wrong: str, told: str
) -> None:
    assert check(kube_schemas, POD) == []
    (line,) = check(kube_schemas, POD.replace(right, wrong))
    assert told in line


@pytest.mark.parametrize("wrong", ["{tres: 3}", "{trees: three}", "{height: [4]}", "{notes: {by: 4}}"])
def test_a_custom_kind_is_checked_by_its_definition(kube_schemas: Path, tmp_path: Path, wrong: str) -> None:
    (tmp_path / "crd.yaml").write_text(CRD)
    assert check(kube_schemas, CRD) == []
    folder = add_custom(tmp_path, tmp_path / "crd.yaml")
    assert check(folder, ORCHARD) == []
    assert len(check(folder, ORCHARD[: ORCHARD.index("spec:")] + f"spec: {wrong}")) == 1
