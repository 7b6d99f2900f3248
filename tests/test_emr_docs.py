"""docs/emr.md: its commands for AWS, as printed, up to the call: what `aws` is given is what botocore's models know."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ServiceModel

from tests.templates import ROOT, SAMPLE

pytestmark = pytest.mark.main
TEXT = (ROOT / "docs/emr.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
FOR_AWS = [block for block in BLOCKS if "aws " in block]
FOR_KUBECTL = [block for block in BLOCKS if "kubectl " in block]
# The AWS CLI's own commands, which are no operations; and its own options.
CLIS = {("s3", "cp"), ("s3", "rm")}
OPTIONS = {"region", "query", "output"}
RECORDER = f"""#!/bin/bash
{sys.executable} -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@" >> "$CALLS"
case $2 in describe-cluster) echo "https://$ISSUER" ;; create-virtual-cluster) echo "$MADE" ;; esac
"""


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The words of each `aws` that a user who types the page's commands in one shell would start."""
    folder = tmp_path_factory.mktemp("aws")
    aws = folder / "aws"
    aws.write_text(RECORDER)
    aws.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    names = {"PATH": path, "CALLS": str(folder / "calls"), "ISSUER": SAMPLE["OIDC"], "MADE": SAMPLE["VIRTUAL_CLUSTER"]}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(FOR_AWS)],
        cwd=ROOT, env=names, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def options(words: list[str]) -> dict[str, str]:
    """Options and their values: a switch has none."""
    found, rest = {}, words[2:]
    for word, following in zip(rest, [*rest[1:], "--"], strict=True):
        if word.startswith("--"):
            found[word.removeprefix("--")] = "" if following.startswith("--") else following
    return found


def test_each_command_is_an_operation_with_options_that_aws_knows(calls: list[list[str]]) -> None:
    assert len(calls) > 20
    loader = Loader()
    for words in calls:
        service, command = words[:2]
        if (service, command) in CLIS:
            continue
        model = ServiceModel(loader.load_service_model(service, "service-2"), service)
        operations = {xform_name(name, "-"): name for name in model.operation_names}
        assert command in operations, words
        shape = model.operation_model(operations[command]).input_shape
        assert shape is not None
        known = {xform_name(name, "-"): name for name in shape.members}
        given = set(options(words)) - OPTIONS
        assert given <= set(known), words
        needed = {xform_name(name, "-") for name in shape.required_members}
        idempotent = {
            xform_name(name, "-") for name, member in shape.members.items() if "idempotencyToken" in member.metadata
        }
        assert needed - idempotent <= given, words


def test_each_policy_is_filled(calls: list[list[str]]) -> None:
    documents = [value for words in calls for name, value in options(words).items() if name.endswith("policy-document")]
    assert len(documents) == 8
    for document in documents:
        assert json.loads(document)["Version"] == "2012-10-17"
        assert "${" not in document
    for place in ("images", "store", "results", "pods", "logs"):
        assert sum(f"arn:aws:s3:::fruits/{place}/*" in document for document in documents) == 1


def test_what_was_made_is_what_is_deleted(calls: list[list[str]]) -> None:
    made, deleted = (
        {options(words)["policy-name"] for words in calls if words[1] == f"{verb}-role-policy"}
        for verb in ("put", "delete")
    )
    assert made == deleted


def test_the_page_names_the_files_that_it_is_about() -> None:
    for file in (ROOT / "k8s/emr").rglob("*.*"):
        assert {str(file.relative_to(ROOT)), str(file.parent.relative_to(ROOT))} & set(
            re.findall(r"k8s/[\w./-]+\w", TEXT)
        )
    assert Path("helm/examples/values-emr.yaml").name in TEXT
