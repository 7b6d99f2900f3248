"""What EMR takes at all: names, lengths and patterns, read from the service model that botocore sends requests by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape

from verger.errors import SettingsError

# What of a request is which option: all that users give whole. The rest is named as EMR names it.
OPTIONS = {
    "name": "--name",
    "virtualClusterId": "--virtual-cluster",
    "executionRoleArn": "--execution-role",
    "releaseLabel": "--release-label",
    "entryPoint": "--entry-point",
    "logUri": "--log-uri",
    "logGroupName": "--log-group",
    "logStreamNamePrefix": "--log-prefix",
    "clientToken": "--client-token",
    "jobTemplateId": "--template",
    "jobTemplateParameters": "--parameters",
    "tags": "--tags",
    "properties": "--spark-conf",
}
SHOWN = 60  # characters of a value that is too long


@cache
def model() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("emr-containers", "service-2"), "emr-containers")


def admit(operation: str, request: dict[str, Any]) -> dict[str, Any]:
    """The request of an operation (`StartJobRun`), if EMR takes it; else a SettingsError of the first thing wrong."""
    shape = model().operation_model(operation).input_shape
    assert shape is not None
    for path, wrong in _violations(shape, request, ()):
        name = next((OPTIONS[part] for part in reversed(path) if part in OPTIONS), ".".join(path))
        raise SettingsError(f"{name} {wrong}")
    return request


def _violations(shape: Any, value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    match shape.type_name:
        case "structure":
            for name in shape.required_members:
                if name not in value and not shape.members[name].metadata.get("idempotencyToken"):
                    yield (*path, name), "is missing; give it"
            for name, each in value.items():
                yield from _violations(shape.members[name], each, (*path, name))
        case "list":
            yield from _size(shape, len(value), path, "entries")
            for each in value:
                yield from _violations(shape.member, each, path)
        case "map":
            yield from _size(shape, len(value), path, "entries")
            for key, each in value.items():
                yield from _violations(shape.key, key, path)
                yield from _violations(shape.value, each, path)
        case "string":
            yield from _text(shape, value, path)
        case "integer":
            yield from _size(shape, value, path, "is the number")


def _size(shape: Shape, size: int, path: tuple[str, ...], what: str) -> Iterator[tuple[tuple[str, ...], str]]:
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max")
    if size < least or (most is not None and size > most):
        yield path, f"{size} {what}: EMR takes {least} to {most}; give others"


def _text(shape: Shape, value: str, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max")
    shown = value if len(value) <= SHOWN else f"{value[:SHOWN]}..."
    if most is not None and len(value) > most:
        yield path, f"{shown}: {len(value)} characters, and EMR takes {most}; shorten it"
    if len(value) < least:
        yield path, f"{shown}: {len(value)} characters, and EMR takes no less than {least}; correct it"
    pattern = shape.metadata.get("pattern")
    if pattern is not None and re.fullmatch(pattern, value) is None:
        yield path, f"{shown}: EMR takes what matches {pattern}; correct it"
    if (allowed := shape.metadata.get("enum")) and value not in allowed:
        yield path, f"{shown}: EMR takes {', '.join(allowed)}; give one of them"
