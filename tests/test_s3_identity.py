"""EKS Pod Identity: credentials from the agent of a node, which asks for the pod's token. The agent is a stand-in on
127.0.0.1; what it gives out are temporary credentials of the real STS, and S3 takes no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.s3server import Bucket, run
from tests.support import Answer, serving
from tests.webidentity import READ, WRITE, web_identity

pytestmark = [pytest.mark.spark, pytest.mark.s3]


def test_a_run_with_pod_identity_in_the_driver_and_in_the_jvm(bucket: Bucket, orchard: Path, tmp_path: Path) -> None:
    bucket.upload(orchard, "images")
    (tmp_path / "pod-token").write_text("the pod's token")
    with web_identity(bucket.s3, tmp_path) as cluster:
        role = cluster.role("runner", bucket, images=READ, store=WRITE, results=WRITE, log=WRITE)
        taken = bucket.s3.client("sts").assume_role_with_web_identity(
            RoleArn=role, RoleSessionName="agent", WebIdentityToken=cluster.token("runner").read_text()
        )["Credentials"]
        given = {name: taken[name] for name in ("AccessKeyId", "SecretAccessKey")}
        given |= {"Token": taken["SessionToken"], "Expiration": taken["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ")}

        def agent(answer: Answer, _: int) -> None:
            known = answer.headers["Authorization"] == "the pod's token"
            answer.give(json.dumps(given).encode() if known else b"{}", 200 if known else 403)

        with serving(agent) as pod:
            environment = {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{pod.url}/v1/credentials",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "pod-token"),
                **bucket.s3.sts,
            }
            options = [*bucket.places(), *bucket.s3.options(), "--event-log", bucket.url("log"), "--components", 5]
            done = run(environment, "run", *options)
    assert done.code == 0, done.lines
    manifest = json.loads(bucket.read("results/run.json"))
    assert manifest["images"]["embedded"] == 64
    assert manifest["identity"]["credentials"] == "pod identity"
    assert manifest["identity"]["arn"].split("/")[-2] == role.split("/")[-1]
    assert any(line.startswith(f"as {manifest['identity']['arn']} (pod identity)") for line in done.lines)
    assert len(pod.requests) >= 2  # the driver's Python and its JVM
    places = {place["name"]: place for place in manifest["residency"]["places"]}
    assert places["--event-log"]["region"] == "eu-west-3"
    assert [key for key in bucket.objects("log/") if "events_" in key]
