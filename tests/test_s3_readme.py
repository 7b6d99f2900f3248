"""The README's commands on buckets, as printed, on a bucket of that name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.s3server import NOWHERE, S3, Bucket, clean
from tests.test_check import rows
from tests.test_readme import ON_S3, ROOT

pytestmark = [pytest.mark.spark, pytest.mark.s3]


def test_the_commands_on_buckets_work_as_printed(s3: S3, orchard: Path, weights: dict[str, object]) -> None:
    s3.client().create_bucket(Bucket="fruits", CreateBucketConfiguration={"LocationConstraint": s3.region})
    fruits = Bucket(s3, "fruits")
    fruits.upload(orchard, "images")
    given = {
        "ENDPOINT": s3.server.url, "ATTEST_REGION": s3.region, "ALLOW_HTTP": "1", "ALLOW_STATIC_KEYS": "1",
        **({"UNTRAINED": "1"} if "untrained" in weights else {}), "COMPONENTS": "5",
    }  # fmt: skip
    environment = clean() | NOWHERE | s3.environment | {f"VERGER_{name}": value for name, value in given.items()}
    assert [command.split()[1] for command in ON_S3] == ["check", "run"]

    check, run = [
        subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment)
        for command in ON_S3
    ]

    assert check.returncode == 0, check.stdout + check.stderr
    names = ["identity", *["residency"] * 4, "read images", "write store", "write results", "weights", "engine"]
    assert rows(check.stdout) == [("✓", name) for name in [*names, "memory", "spark"]]
    assert f"✓ write store   s3://fruits/store: an object was written, read and deleted{os.linesep}" in check.stdout
    assert "a worker read s3://fruits/images/" in check.stdout
    assert run.returncode == 0, run.stderr
    assert "64 images: 64 embedded, 0 reused, 0 failed" in run.stdout
    assert not [key for key in fruits.objects() if "verger_check" in key]
