"""The chart's schema and its README's table, made of values.yaml, its comments, and Verger's settings.

python helm/generate.py            writes them
python helm/generate.py --check    says what is not as it would write it, and ends with 1
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from verger.residency import EU
from verger.settings import Settings

CHART = Path(__file__).with_name("verger")
# What the chart says itself, or what makes no sense in a pod.
OWN = {"config", "master", "driver_memory", "container_image", "cache", "scratch", "weights", "projection", "prices"}
PLACES = ("images", "store", "results")
# Kubernetes' own objects, which its API server checks.
FREE = {"podSecurityContext", "securityContext", "quota.hard", "sparkConf"}
QUANTITY = {"pattern": r"^([0-9]+(\.[0-9]+)?(m|[kMGT]i?)?)?$"}
MEMORY = {"pattern": r"^[1-9][0-9]*[mg]$"}
POSITIVE = {"minimum": 1}
RULES: dict[str, dict[str, Any]] = {
    "runner": {"enum": ["job", "operator"]},
    "image.digest": {"pattern": r"^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "aws.roleArn": {"pattern": r"^(arn:aws[a-z-]*:iam::[0-9]{12}:role/.+)?$"},
    "aws.tokenExpirationSeconds": {"minimum": 600},  # the least that Kubernetes takes
    "aws.stsEndpoint": {"pattern": r"^(https?://[^/]+)?$"},
    "tmpSize": {"pattern": r"^[0-9]+(\.[0-9]+)?[KMGT]i?$"},
    "metrics.podMonitor.interval": {"pattern": r"^[0-9]+(ms|s|m)$"},
    "job.startDeadlineSeconds": POSITIVE,
    "job.deadlineSeconds": POSITIVE,
    "dynamicAllocation.minExecutors": {"minimum": 0},
    "dynamicAllocation.maxExecutors": POSITIVE,
    "dynamicAllocation.initialExecutors": {"minimum": 0},
    "executor.instances": POSITIVE,
    **{f"{pod}.{name}": MEMORY for pod in ("driver", "executor") for name in ("memory", "memoryOverhead")},
    **{f"{pod}.{name}": QUANTITY for pod in ("driver", "executor") for name in ("coreRequest", "coreLimit")},
    **{f"{pod}.cores": POSITIVE for pod in ("driver", "executor")},
}


@dataclass(frozen=True)
class Value:
    """A value of the chart: its path (`driver.memory`), its default, and what the comment above it says."""

    path: str
    default: Any
    meaning: str
    children: tuple[Value, ...]

    def walk(self) -> Iterator[Value]:
        yield self
        for child in self.children:
            yield from child.walk()


def read(file: Path) -> tuple[Value, ...]:
    """The values of a file, in its order."""
    text = file.read_text()
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    return _values(root, "", text.splitlines())


def _values(node: yaml.MappingNode, above: str, lines: list[str]) -> tuple[Value, ...]:
    found = []
    for key, value in node.value:
        path = f"{above}.{key.value}" if above else key.value
        comment = re.match(r"\s*# -- (.*)", lines[key.start_mark.line - 1])
        inner = isinstance(value, yaml.MappingNode) and value.value and path not in FREE
        children = _values(value, path, lines) if inner else ()
        default = yaml.safe_load(yaml.serialize(value))
        found.append(Value(path, default, comment[1] if comment else "", children))
    return tuple(found)


def schema(values: tuple[Value, ...]) -> dict[str, Any]:
    """Unknown keys are refused wherever the chart knows all of them."""
    top = _object(values)
    top["properties"]["settings"] = settings()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the chart verger",
        **top,
        # Helm hands these to every chart.
        "properties": {**top["properties"], "global": {"type": "object"}},
    }


def _object(values: tuple[Value, ...]) -> dict[str, Any]:
    properties = {value.path.rpartition(".")[2]: _property(value) for value in values}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _property(value: Value) -> dict[str, Any]:
    said = {"description": value.meaning} if value.meaning else {}
    if value.children:
        return said | _object(value.children)
    return said | _type(value.default) | RULES.get(value.path, {})


def _type(default: Any) -> dict[str, Any]:
    match default:
        case None:
            return {"type": ["integer", "null"], "minimum": 0}
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array"}
    return {"type": "object"}


def settings() -> dict[str, Any]:
    """The settings of `verger run`, but those that are the chart's; under the policy `eu`, regions of the EU only."""
    made = Settings.model_json_schema()
    properties = {name: _plain(given) for name, given in made["properties"].items() if name not in OWN}
    for place in PLACES:
        properties[place] |= {"pattern": "^(s3a?://[^/]+/|/).+"}
    european = {name: {"enum": sorted(EU)} for name in ("region", "attest_region")}
    return {
        "description": "The settings of `verger run`",
        "type": "object",
        "additionalProperties": False,
        "required": list(PLACES),
        "properties": properties,
        "if": {"properties": {"residency": {"const": "eu"}}},
        "then": {"properties": european},
    }


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """Pydantic's property, with `type: [..., null]` for its anyOf of a type and null: so Helm's messages are short."""
    kinds = [kind for kind in given.get("anyOf", []) if kind.get("type") != "null"]
    rest = {name: value for name, value in given.items() if name not in ("title", "default", "anyOf", "format")}
    if len(kinds) != 1:
        return rest
    kind = {name: value for name, value in kinds[0].items() if name != "format"}
    return rest | kind | {"type": [kind["type"], "null"]}


def table(values: tuple[Value, ...]) -> str:
    """Markdown: every value that has a meaning."""
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for value in (inner for outer in values for inner in outer.walk()):
        if value.meaning:
            shown = json.dumps(value.default) if value.default not in ("", None) else ""
            rows.append(f"| `{value.path}` | {f'`{shown}`' if shown else ''} | {value.meaning} |")
    return "\n".join(rows)


def readme(text: str, values: tuple[Value, ...]) -> str:
    """The README with a new table between its marks."""
    before, mark, rest = text.partition("<!-- values -->\n")
    _, end, after = rest.partition("<!-- end of values -->")
    if not mark or not end:
        raise SystemExit("helm/verger/README.md: the marks `<!-- values -->` and `<!-- end of values -->` are missing")
    return f"{before}{mark}{table(values)}\n{end}{after}"


def main() -> None:
    values = read(CHART / "values.yaml")
    made = {
        CHART / "values.schema.json": json.dumps(schema(values), indent=2) + "\n",
        CHART / "README.md": readme((CHART / "README.md").read_text(), values),
    }
    stale = [file for file, content in made.items() if not file.exists() or file.read_text() != content]
    if "--check" in sys.argv[1:]:
        for file in stale:
            print(f"{file.relative_to(CHART.parent.parent)} is not what its sources give: run `make chart`")
        raise SystemExit(bool(stale))
    for file in stale:
        file.write_text(made[file])


if __name__ == "__main__":
    main()
