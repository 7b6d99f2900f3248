"""A bucket's objects, listed by workers: each once, with a request for a thousand names, whatever the folders are."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from verger import inventory, listing, reading
from verger.aws import Aws
from verger.listing import Lister, folders
from verger.locations import Location

from tests.s3server import REGION, Bucket

pytestmark = pytest.mark.s3


@pytest.fixture
def aws(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Aws:
    for name, value in bucket.s3.environment.items():
        monkeypatch.setenv(name, value)
    reading.worker_client.cache_clear()  # a client keeps the keys that it was made with
    return Aws(REGION, bucket.s3.server.url)


def listed(bucket: Bucket, cut: list[tuple[str, bool]]) -> list[str]:
    """The keys that workers find below the prefixes."""
    prefixes, deep = zip(*cut, strict=True)
    given = pa.RecordBatch.from_arrays([pa.array(prefixes), pa.array(deep)], names=["prefix", "deep"])
    batches = Lister(REGION, bucket.s3.server.url, bucket.name)([given])
    paths = [path for batch in batches for path in batch.column("path").to_pylist()]
    return sorted(path.removeprefix(f"s3a://{bucket.name}/") for path in paths)


TREE = ["in/a/1", "in/a/2", "in/b/c/3", "in/b/c/d/4", "in/b/5", "in/6", "in/a b+%20ü/7"]


@pytest.mark.parametrize("enough", [1, 2, 3, 4, 100])
def test_prefixes_hold_each_object_once(bucket: Bucket, aws: Aws, enough: int) -> None:
    for key in [*TREE, "in2/8"]:
        bucket.put(key, b"x")
    cut = folders(aws, bucket.name, "in/", enough)
    assert listed(bucket, cut) == sorted(TREE)
    assert len(cut) >= min(enough, 4)


def test_a_folder_of_more_than_a_thousand_names_is_left_whole(bucket: Bucket, aws: Aws) -> None:
    client = bucket.s3.client()
    for number in range(1001):
        client.put_object(Bucket=bucket.name, Key=f"in/{number}/x", Body=b"x")
    before = len(bucket.requests())
    assert folders(aws, bucket.name, "in/", 2) == [("in/", True)]
    assert len(bucket.requests()) == before + 1
    assert len(listed(bucket, [("in/", True)])) == 1001


@pytest.mark.spark
def test_what_is_listed_is_what_spark_would_list(bucket: Bucket, aws: Aws, spark: SparkSession) -> None:
    """But for hidden names, other names than `include` takes, folders' markers."""
    others = ["in/_hidden/1.jpg", "in/.x.jpg", "in/a/_y.jpg", "in/a/z.txt", "in/a/", "in2/q.jpg"]
    for key in [*others, "in/a/1.jpg", "in/b c/2.jpg"]:
        bucket.put(key, b"" if key.endswith("/") else b"12")
    images = Location.parse(bucket.url("in"))
    rows = inventory.chosen(spark, listing.objects(spark, images, aws, 2), images, "*.{jpg,png}").collect()
    assert {row.path for row in rows} == {f"s3a://{bucket.name}/in/{name}" for name in ("a/1.jpg", "b c/2.jpg")}
    assert {row.size for row in rows} == {2}
    assert listing.weighed(images, aws) == (3, 6)  # z.txt as well
    assert {row.modified.microsecond for row in rows} == {0}
