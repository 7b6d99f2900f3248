"""JSON schemas for kubeconform, made of what the cluster's own API server says it takes: the ones that kubeconform
downloads are of somebody else's version, and tests need no network.

Strict: a field that the schema has no name for is an error, and so is a null."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]
# Strings in the OpenAPI document, which has no better word for them; numbers are taken too.
NUMBERS_TOO = {"io.k8s.apimachinery.pkg.api.resource.Quantity", "io.k8s.apimachinery.pkg.util.intstr.IntOrString"}


def schemas(folder: Path) -> Path:
    """A folder with the schema of each kind that the cluster of kubectl's context serves."""
    answer = subprocess.run(["kubectl", "get", "--raw", "/openapi/v2"], capture_output=True, check=True)
    definitions: Schema = json.loads(answer.stdout)["definitions"]
    closed = {name: _closed(definition) for name, definition in definitions.items()}
    for name in NUMBERS_TOO & closed.keys():
        closed[name] = {"type": ["string", "number"]}
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", []):
            reached = {other: closed[other] for other in _reached(name, closed)}
            schema = {"$ref": f"#/definitions/{name}", "definitions": reached}
            _write(folder, kind["group"], kind["version"], kind["kind"], schema)
    return folder


def add_custom(folder: Path, crds: Path) -> Path:
    """Add the kinds of a file of CustomResourceDefinitions."""
    for crd in yaml.safe_load_all(crds.read_text()):
        spec = crd["spec"]
        for version in spec["versions"]:
            schema = _closed(version["schema"]["openAPIV3Schema"])
            _write(folder, spec["group"], version["name"], spec["names"]["kind"], schema)
    return folder


def check(folder: Path, manifests: str) -> list[str]:
    """What is wrong with manifests (YAML), one line each."""
    location = f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    command = ["kubeconform", "-strict", "-output", "json", "-verbose", "-schema-location", location, "-"]
    done = subprocess.run(command, input=manifests, capture_output=True, text=True, check=False)
    seen = json.loads(done.stdout)["resources"]
    assert len(seen) == sum(1 for document in yaml.safe_load_all(manifests) if document), done.stdout + done.stderr
    return [f"{one['kind']} {one['name']}: {one['msg']}" for one in seen if one["status"] != "statusValid"]


def _write(folder: Path, group: str, version: str, kind: str, schema: Schema) -> None:
    name = "-".join(word for word in (kind, group.partition(".")[0], version) if word)
    (folder / f"{name.lower()}.json").write_text(json.dumps(schema))


def _closed(schema: Any) -> Any:
    """The schema with every object closed that lists its fields."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        key: {name: _closed(each) for name, each in value.items()} if key == "properties" else _closed(value)
        for key, value in schema.items()
    }
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def _reached(name: str, definitions: Schema) -> set[str]:
    """The definitions that one leads to, and itself."""

    def named(schema: Any) -> Iterator[str]:
        return (found for found in re.findall(r'"#/definitions/([^"]+)"', json.dumps(schema)))

    reached: set[str] = set()
    ahead = {name}
    while ahead:
        reached |= ahead
        ahead = {found for each in ahead for found in named(definitions[each])} - reached
    return reached
