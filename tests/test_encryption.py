"""What was written is encrypted by the key, by S3's own word. moto stands in for S3: the test server has no KMS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from moto.server import ThreadedMotoServer
from verger import drawing
from verger.aws import Aws
from verger.buckets import BucketFolder
from verger.errors import VergerError
from verger.uploads import Uploads

from tests.conftest import command
from tests.support import one_line

KEY = "arn:aws:kms:eu-west-3:111122223333:key/11111111-2222-3333-4444-555555555555"
OTHER = KEY.replace("1111-2222", "9999-9999")


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL_STS", f"http://{host}:{port}"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    urllib3.request("POST", f"http://{host}:{port}/moto-api/reset")  # what it holds is the process's
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def folder(moto: str) -> BucketFolder:
    aws = Aws("eu-west-3", moto, KEY)
    aws.s3.create_bucket(Bucket="fruits", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    return BucketFolder(aws, "fruits", "out/")


def test_an_object_of_another_key_is_told(folder: BucketFolder) -> None:
    folder.aws.s3.put_object(Bucket="fruits", Key="out/a", Body=b"a", ServerSideEncryption="aws:kms", SSEKMSKeyId=OTHER)
    with pytest.raises(VergerError) as error:
        folder.assure("a")
    one_line(error, "s3://fruits/out/a", f"not encrypted by --kms-key {KEY}", OTHER)


def test_an_object_without_a_key_is_told_and_not_fetched(folder: BucketFolder, tmp_path: Path) -> None:
    folder.aws.s3.put_object(Bucket="fruits", Key="out/a", Body=b"a")
    with pytest.raises(VergerError) as error:
        folder.fetch("a", tmp_path / "a")
    one_line(error, f"not encrypted by --kms-key {KEY}", "S3 says")
    assert not (tmp_path / "a").exists()


def test_a_server_that_leaves_the_key_out_gets_no_bytes(folder: BucketFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for nothing, moto says nothing: as a server does that does not know the header."""
    monkeypatch.setattr(Aws, "encryption", {})
    uploads = Uploads(folder)
    with pytest.raises(VergerError, match="not encrypted by"), uploads.open("a"):
        pass
    assert "Uploads" not in folder.aws.s3.list_multipart_uploads(Bucket="fruits")
    with pytest.raises(VergerError, match="not encrypted by"):
        folder.write("b", b"b")


@pytest.mark.spark
@pytest.mark.main
def test_all_that_a_run_writes_is_encrypted_by_its_key(
    folder: BucketFolder, moto: str, weights: dict[str, object], tmp_path: Path
) -> None:
    drawing.orchard(tmp_path, 1)
    given = ["--untrained"] if "untrained" in weights else ["--weights", weights["weights"]]
    done = command(
        "run", "--images", tmp_path, "--store", "s3://fruits/store", "--results", "s3://fruits/results",
        "--components", 3, "--endpoint", moto, "--attest-region", "eu-west-3", "--allow-http", "--allow-static-keys",
        "--kms-key", KEY, *given,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    s3 = folder.aws.s3
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket="fruits")["Contents"]]
    assert {key.split("/")[0] for key in keys} == {"store", "results"}
    answers = {key: s3.head_object(Bucket="fruits", Key=key).get("SSEKMSKeyId") for key in keys}
    assert {key for key, found in answers.items() if found != KEY} == set()
    manifest = json.loads(s3.get_object(Bucket="fruits", Key="results/run.json")["Body"].read())
    assert {"name": "--kms-key", "where": KEY, "region": "eu-west-3", "known_by": "its ARN"} in (
        manifest["residency"]["places"]
    )
