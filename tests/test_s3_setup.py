"""The IAM templates of k8s/aws on a real S3 with IAM and STS: a role that is made of them, by the program that makes it
for a try-out, does a whole run and nothing else, and each action in them is one that it can't do without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3server import KEYS, REGION, S3, Bucket, Done, answering, run, standing_before
from tests.templates import FOLDER, actions, filled
from tests.webidentity import WebIdentity, web_identity

pytestmark = [pytest.mark.s3, pytest.mark.spark]
ROLE = "runs"


@pytest.fixture(scope="module")
def pods(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebIdentity]:
    with web_identity(s3, tmp_path_factory.mktemp("tokens")) as given:
        yield given


@pytest.fixture
def pod(pods: WebIdentity, images: Bucket) -> dict[str, str]:
    """The environment of a pod that has the role."""
    environment = {
        "S3": images.s3.server.url, "IAM": images.s3.iam.url, "ISSUER": str(images.s3.issuer),
        "BUCKET": images.name, "REGION": REGION, "ROLE": ROLE,
        "NAMESPACE": pods.namespace, "SERVICE_ACCOUNT": "verger",
        "AWS_ACCESS_KEY_ID": KEYS["access"], "AWS_SECRET_ACCESS_KEY": KEYS["secret"],
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(FOLDER / "s3/prepare.py")],
        env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return pods.environment(done.stdout.strip(), pods.token("verger"))


def without(s3: S3, action: str) -> None:
    """Take one action out of all policies of the role."""
    iam, taken = s3.client("iam"), 0
    for name in iam.list_role_policies(RoleName=ROLE)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=ROLE, PolicyName=name)["PolicyDocument"]
        for statement in document["Statement"]:
            left = [other for other in actions(statement) if other != action]
            taken += len(actions(statement)) - len(left)
            statement["Action"] = left
        document["Statement"] = [statement for statement in document["Statement"] if statement["Action"]]
        iam.put_role_policy(RoleName=ROLE, PolicyName=name, PolicyDocument=json.dumps(document))
    assert taken


def ran(bucket: Bucket, pod: dict[str, str]) -> tuple[Done, list[str]]:
    """A run in a harder world, and what it met there: the bucket tells its region to nobody who may not list all of it,
    and when Spark begins to write, an upload appears beside its own: as of a task whose executor was lost."""
    silent, left = b"HEAD /" + bucket.name.encode() + b" ", list[str]()

    def answer(head: bytes) -> bytes | None:
        if head.startswith(silent):
            return answering("403 Forbidden")
        path, _, query = head.split(b" ")[1].decode().partition("?")
        folder = path.removeprefix(f"/{bucket.name}/").rpartition("/")[0]
        if head.startswith(b"POST ") and query.startswith("uploads") and "/.verger-" in folder and not left:
            left.append(f"{folder}/part-of-a-lost-task")
            bucket.s3.client().create_multipart_upload(Bucket=bucket.name, Key=left[0])
        return None

    with standing_before(bucket.s3.server) as front:
        front.answer = answer
        done = run(pod, "run", *bucket.places(), *bucket.s3.options(front.url), "--components", 2)
        assert any(head.startswith(silent) for head in front.heads)
    return done, left


def test_a_role_of_the_templates_does_a_whole_run_and_clears_up(images: Bucket, pod: dict[str, str]) -> None:
    done, left = ran(images, pod)
    assert done.code == 0, done.lines
    assert json.loads(images.read("results/run.json"))["images"]["embedded"] == 8
    assert left
    assert images.uploads() == []


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ({"images": "private"}, "access denied to ListObjectsV2"),
        ({"images": "images-of-others"}, "access denied to ListObjectsV2"),
        ({"store": "elsewhere"}, "access denied to ListObjectsV2"),
        ({"results": "store-of-others"}, "access denied to ListObjectsV2"),
    ],
    ids=str,
)
def test_a_run_outside_its_prefixes_is_refused(
    images: Bucket, pod: dict[str, str], place: dict[str, str], told: str
) -> None:
    before = images.tags("")
    done = run(pod, "run", *images.places(**place), *images.s3.options())
    done.refused(1, images.url(next(iter(place.values()))), told)
    assert images.tags("") == before


@pytest.fixture
def client(images: Bucket, pod: dict[str, str]) -> Any:
    """The role's own client of S3."""
    taken = images.s3.client("sts").assume_role_with_web_identity(
        RoleArn=pod["AWS_ROLE_ARN"],
        RoleSessionName="test",
        WebIdentityToken=Path(pod["AWS_WEB_IDENTITY_TOKEN_FILE"]).read_text(),
    )["Credentials"]
    return images.s3.client(
        aws_access_key_id=taken["AccessKeyId"],
        aws_secret_access_key=taken["SecretAccessKey"],
        aws_session_token=taken["SessionToken"],
    )


@pytest.mark.parametrize(
    ("action", "right", "wrong"),
    [
        ("get_object", "images/one", ["one", "imagesone", "images-of-others/one"]),
        ("put_object", "store/one", ["images/one", "store-of-others/one", "one"]),
        ("delete_object", "results/one", ["images/one", "one"]),
        ("create_multipart_upload", "results/one", ["images/one", "one"]),
    ],
)
def test_each_request_is_allowed_below_its_prefixes_only(
    images: Bucket, client: Any, action: str, right: str, wrong: list[str]
) -> None:
    for key in [right, *wrong]:
        images.put(key, b"one")
    getattr(client, action)(Bucket=images.name, Key=right)
    for key in wrong:
        with pytest.raises(ClientError, match="AccessDenied"):
            getattr(client, action)(Bucket=images.name, Key=key)


@pytest.mark.parametrize("prefix", ["", "private/", "imag", "images-of-others/"])
def test_names_are_listed_below_its_prefixes_only(images: Bucket, client: Any, prefix: str) -> None:
    assert client.list_objects_v2(Bucket=images.name, Prefix="images/")["KeyCount"] == 8
    with pytest.raises(ClientError, match="AccessDenied"):
        client.list_objects_v2(Bucket=images.name, Prefix=prefix)


def test_what_is_not_encrypted_on_its_way_is_refused_by_the_bucket(images: Bucket, client: Any) -> None:
    """The one statement of the bucket policy that this server can take: it has no KMS and no VPC."""
    policy = json.loads(filled("aws/bucket-policy.json", BUCKET=images.name))
    policy["Statement"] = [one for one in policy["Statement"] if one["Sid"] == "OnlyEncryptedOnTheWay"]
    client.list_objects_v2(Bucket=images.name, Prefix="images/")
    images.s3.client().put_bucket_policy(Bucket=images.name, Policy=json.dumps(policy))
    with pytest.raises(ClientError, match="AccessDenied"):
        client.list_objects_v2(Bucket=images.name, Prefix="images/")


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ("s3:GetBucketLocation", "access denied to GetBucketLocation"),
        ("s3:ListBucket", "access denied to ListObjectsV2"),
        ("s3:GetObject", "access denied to GetObject"),
        ("s3:PutObject", "access denied to PutObject"),
        ("s3:DeleteObject", "is still there, which Spark's committer deletes; let this run's role do DeleteObject"),
        ("s3:AbortMultipartUpload", "part-of-a-lost-task"),
    ],
)
def test_a_run_fails_without_each_action(images: Bucket, pod: dict[str, str], action: str, told: str) -> None:
    without(images.s3, action)
    done, _ = ran(images, pod)
    done.refused(1, told)
    assert "results/run.json" not in images.objects("results/")


def test_a_run_that_may_not_list_uploads_leaves_those_of_lost_tasks(images: Bucket, pod: dict[str, str]) -> None:
    without(images.s3, "s3:ListBucketMultipartUploads")
    done, left = ran(images, pod)
    assert done.code == 0, done.lines
    assert images.uploads() == left != []
