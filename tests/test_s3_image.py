"""The container between buckets, locked in as a restricted pod is: it reaches the S3 server and STS, nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conftest import Runner
from tests.s3server import Bucket, standing_before
from tests.test_image import IMAGE, TARGET
from tests.test_pipeline import assert_same
from tests.webidentity import READ, WRITE, web_identity

pytestmark = [
    pytest.mark.s3,
    pytest.mark.spark,
    pytest.mark.real,
    pytest.mark.skipif(not IMAGE or TARGET != "spark", reason="VERGER_TEST_IMAGE names no `spark` image"),
]
SUBNET, GATEWAY = "203.0.113.0/28", "203.0.113.1"  # RFC 5737: nobody's network


@pytest.fixture
def room() -> Iterator[str]:
    """A network without a way out: its only other host is this machine's end of it."""
    name = f"verger-{uuid4().hex[:8]}"
    given = ("--internal", "--subnet", SUBNET, "--gateway", GATEWAY)
    subprocess.run(["docker", "network", "create", *given, name], check=True, capture_output=True)
    yield name
    subprocess.run(["docker", "network", "rm", name], check=True, capture_output=True)


def test_real_images_in_a_locked_room_give_what_the_local_run_gives(
    run: Runner, bucket: Bucket, three_fruits: Path, room: str, tmp_path: Path
) -> None:
    assert sum(bucket.upload(fruit, f"images/{fruit.name}") for fruit in three_fruits.iterdir()) == 496
    s3 = bucket.s3
    with (
        web_identity(s3, tmp_path) as cluster,
        standing_before(s3.server, GATEWAY) as door,
        standing_before(s3.iam, GATEWAY) as sts,
    ):
        token = cluster.token("runner")
        token.chmod(0o644)
        role = cluster.role("runner", bucket, images=READ, store=WRITE, results=WRITE)
        environment = cluster.environment(role, Path("/token")) | {"AWS_ENDPOINT_URL_STS": sts.url}
        done = subprocess.run(
            [
                "docker", "run", "--rm", "--read-only", "--network", room, "--user", "185", "--cap-drop", "ALL",
                "--security-opt", "no-new-privileges", "--tmpfs", "/tmp:exec", "-v", f"{token}:/token:ro",
                *(word for name, value in environment.items() for word in ("-e", f"{name}={value}")),
                IMAGE, "verger", "run", *bucket.places(), *s3.options(door.url), "--components", "100",
            ],
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    manifest = json.loads(bucket.read("results/run.json"))
    assert manifest["images"] == {"listed": 496, "embedded": 496, "reused": 0, "failed": 0}
    assert manifest["identity"]["credentials"] == "web identity"
    assert len(bucket.requests("GetObject", under="images/")) == 496
    local = run(three_fruits, components=100)
    assert_same(local.results, bucket.download("results", tmp_path / "downloaded"))
