"""Objects that appear together or not at all, and the folder that they are in: on a real S3 server."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from verger.aws import Aws
from verger.buckets import BucketFolder
from verger.errors import VergerError
from verger.locations import Location
from verger.uploads import PART, Upload, Uploads

from tests.s3server import REGION, S3, Bucket, answering, standing_before

pytestmark = pytest.mark.s3


@pytest.fixture(autouse=True)
def _root(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)


def folder(bucket: Bucket, endpoint: str | None = None) -> BucketFolder:
    return BucketFolder.of(Location.parse(bucket.url("folder")), Aws(REGION, endpoint or bucket.s3.server.url))


def test_objects_appear_when_they_are_completed_and_the_last_one_last(bucket: Bucket) -> None:
    uploads = Uploads(folder(bucket))
    for name in ("run.json", "a.csv", "deep/b.csv"):
        with uploads.open(name) as file:
            file.write(name.encode())
    assert bucket.objects() == []
    seen: list[str] = []
    uploads.complete(last="run.json", before_last=lambda: seen.extend(bucket.objects()))
    assert seen == ["folder/a.csv", "folder/deep/b.csv"]
    assert {key: bucket.read(key) for key in bucket.objects()} == {
        "folder/run.json": b"run.json", "folder/a.csv": b"a.csv", "folder/deep/b.csv": b"deep/b.csv",
    }  # fmt: skip
    assert bucket.uploads() == []


def test_what_is_aborted_was_never_there(bucket: Bucket) -> None:
    bucket.put("folder/a.csv", b"earlier")
    uploads = Uploads(folder(bucket))
    with uploads.open("a.csv") as file:
        file.write(b"new")
    with pytest.raises(TypeError), uploads.open("b.csv") as file:
        file.write("no bytes")
    assert bucket.uploads() == ["folder/a.csv"]
    uploads.abort()
    assert bucket.uploads() == []
    assert {key: bucket.read(key) for key in bucket.objects()} == {"folder/a.csv": b"earlier"}


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART + 5])
def test_objects_of_any_size_arrive_as_they_were_written(bucket: Bucket, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    uploads = Uploads(folder(bucket))
    with uploads.open("a") as file:
        for start in range(0, size, 1 << 20):
            file.write(memoryview(content)[start : start + (1 << 20)])
    uploads.complete(last="a", before_last=lambda: None)
    assert bucket.read("folder/a") == content
    assert len(bucket.requests("UploadPart")) == max(1, -(-size // PART))


def test_a_completion_whose_answer_was_lost_is_done(bucket: Bucket) -> None:
    with standing_before(bucket.s3.server) as front:
        uploads = Uploads(folder(bucket, front.url))
        with uploads.open("a") as file:
            file.write(b"content")
        front.loses = lambda head: is_completion(head) and head is next(filter(is_completion, front.heads))
        uploads.complete(last="a", before_last=lambda: None)
    assert len(bucket.requests("CompleteMultipartUpload")) == 2
    assert bucket.read("folder/a") == b"content"


def is_completion(head: bytes) -> bool:
    return head.startswith(b"POST") and b"uploadId=" in head


def test_a_completion_that_s3_forgot_is_looked_for(bucket: Bucket) -> None:
    """After a while, S3 no longer knows the upload that it completed: then the object itself says so, or that not."""
    uploads = Uploads(folder(bucket))
    with uploads.open("a") as file:
        file.write(b"content")
    uploads.complete(last="a", before_last=lambda: None)
    forgotten = Upload(folder(bucket), "a")
    forgotten.write(b"content")
    forgotten.finish()
    forgotten.abort()
    forgotten.complete()  # NoSuchUpload, and an object of as many parts is there
    bucket.s3.client().delete_object(Bucket=bucket.name, Key="folder/a")
    with pytest.raises(VergerError, match=r"^s3://.*/folder/a: "):
        forgotten.complete()


@pytest.mark.parametrize("answer", [answering("503 Slow Down"), answering("500 Internal Server Error"), b""])
def test_a_server_that_is_away_for_a_while_is_waited_for(bucket: Bucket, answer: bytes) -> None:
    """By all that go up at the same time: none of them uses up the patience of the others."""
    with standing_before(bucket.s3.server) as front:
        uploads = Uploads(folder(bucket, front.url))
        for number in range(16):
            with uploads.open(str(number)) as file:
                file.write(b"content")
        back = time.monotonic() + 8
        front.answer = lambda _: answer if time.monotonic() < back else None
        uploads.complete(last="15", before_last=lambda: None)
    assert len(bucket.objects()) == 16
    assert bucket.uploads() == []


def test_a_folder_is_the_keys_below_its_name_and_no_others(bucket: Bucket, tmp_path: Path) -> None:
    for key in ("folder/a b+c%.txt", "folder/deep/er/d", "folder2/e", "other"):
        bucket.put(key, key.encode())
    here = folder(bucket)
    assert sorted(here.names()) == ["a b+c%.txt", "deep"]
    assert sorted(here.keys("")) == ["a b+c%.txt", "deep/er/d"]
    assert here.read("a b+c%.txt") == b"folder/a b+c%.txt"
    assert here.read("none") is None
    assert here.fetch("deep/er/d", tmp_path / "new" / "d").read_bytes() == b"folder/deep/er/d"
    here.remove()
    assert sorted(bucket.objects()) == ["folder2/e", "other"]


def test_more_than_a_thousand_objects_are_listed_and_deleted(bucket: Bucket, tmp_path: Path) -> None:
    for number in range(1005):
        (tmp_path / f"{number}").touch()
    bucket.upload(tmp_path, "folder")
    here = folder(bucket)
    assert len(list(here.keys(""))) == len(list(here.names())) == 1005
    here.remove()
    assert bucket.objects() == []
    assert len(bucket.requests("DeleteObjects")) == 2


def test_errors_are_one_line_about_the_place(bucket: Bucket) -> None:
    missing = BucketFolder(Aws(REGION, bucket.s3.server.url), "no-such-bucket", "folder/")
    with pytest.raises(VergerError, match=r"^s3://no-such-bucket/folder: no such bucket"):
        list(missing.names())
