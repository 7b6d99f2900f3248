"""The chart as helm renders it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

HELM = Path(__file__).parent.parent / "helm"
CHART = HELM / "verger"
EXAMPLES = sorted((HELM / "examples").glob("*.yaml"))
# What a cluster has beyond Kubernetes: for the examples.
APIS = ("sparkoperator.k8s.io/v1beta2/SparkApplication", "monitoring.coreos.com/v1/PodMonitor")
PLACES = {"images": "s3://fruits/images", "store": "s3://fruits/store", "results": "s3://fruits/results"}
NEEDS_HELM = pytest.mark.skipif(shutil.which("helm") is None, reason="helm (4) is not on the PATH")


def helm(*words: str, given: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """`helm WORDS`, with values on standard input."""
    values = ["--values", "-"] if given is not None else []
    return subprocess.run(
        ["helm", *words, *values], input=yaml.safe_dump(given or {}), capture_output=True, text=True, check=False
    )


def template(
    release: str = "fruits", *words: str, apis: tuple[str, ...] = APIS, **given: Any
) -> subprocess.CompletedProcess[str]:
    """What `helm template` makes of values, with the places of a run unless others are given."""
    values = {**given, "settings": {**PLACES, **given.get("settings", {})}}
    known = [word for api in apis for word in ("--api-versions", api)]
    return helm("template", release, str(CHART), "--namespace", "runs", *known, *words, given=values)


def rendered(release: str = "fruits", *words: str, **given: Any) -> list[dict[str, Any]]:
    """The objects of a release."""
    made = template(release, *words, **given)
    assert made.returncode == 0, made.stderr
    return [document for document in yaml.safe_load_all(made.stdout) if document]


def refusal(*words: str, **given: Any) -> str:
    """Why helm takes the values not: its line for the schema's first finding, or a template's sentence."""
    made = template("fruits", *words, **given)
    assert made.returncode != 0, made.stdout
    last = [line for line in made.stderr.splitlines() if line.startswith(("- at ", "Error: "))][-1]
    return last.partition("): ")[2] or last


def one(objects: list[dict[str, Any]], kind: str, suffix: str = "") -> dict[str, Any]:
    """The only object of a kind, or the one whose name ends like that."""
    found = [
        each
        for each in objects
        if each["kind"] == kind and (not suffix or each["metadata"]["name"].endswith(suffix))
    ]  # fmt: skip
    assert len(found) == 1, [each["metadata"]["name"] for each in found]
    return found[0]
