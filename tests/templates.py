"""The templates of k8s/, filled as a user fills them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "k8s"
SAMPLE = {
    "ACCOUNT": "123456789012",
    "BUCKET": "fruits",
    "CLUSTER": "farm",
    "KEY": "1234abcd-12ab-34cd-56ef-1234567890ab",
    "LOG_GROUP": "/verger/runs",
    "NAMESPACE": "verger",
    "OPERATOR_NAMESPACE": "spark-operator",
    "OIDC": "oidc.eks.eu-west-3.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE",
    "PREFIX": "store",
    "REGION": "eu-west-3",
    "ROLE": "verger",
    "S3_IMAGE": "verger-s3",
    "S3_NAMESPACE": "verger-s3",
    "SERVICE_ACCOUNT": "verger",
    "VIRTUAL_CLUSTER": "abcdefghijklmnopqrstuvwxy",
    "VPC_ENDPOINT": "vpce-0123456789abcdef0",
}


def fill(template: str, **given: str) -> subprocess.CompletedProcess[str]:
    """k8s/fill.py on a template of k8s/, with nothing in the environment but what is given."""
    command = [sys.executable, str(FOLDER / "fill.py"), str(FOLDER / template)]
    environment = {"PATH": os.environ["PATH"], **given}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def filled(template: str, **given: str) -> str:
    done = fill(template, **SAMPLE | given)
    assert done.returncode == 0, done.stderr
    return done.stdout


def actions(statement: dict[str, Any]) -> list[str]:
    """IAM takes one action without a list."""
    named: str | list[str] = statement["Action"]
    return [named] if isinstance(named, str) else named
