"""The objects below a prefix of a bucket, listed by the workers: a thousand names a request, folders side by side.

Spark's own listing asks S3 about each object once more (`HeadObject`), one after another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from verger.aws import Aws, told
from verger.buckets import BucketFolder
from verger.locations import HIDDEN, Location
from verger.reading import REQUESTS, worker_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef
    from pyspark.sql import DataFrame, SparkSession

OBJECTS = "path string, size bigint, modified timestamp"
SCHEMA = pa.schema([("path", pa.string()), ("size", pa.int64()), ("modified", pa.timestamp("us", tz="UTC"))])
LEVELS = 3  # of folders that are looked into for enough of them


@dataclass(frozen=True)
class Lister:
    """The worker's side: batches of (prefix, deep) -> batches of OBJECTS."""

    region: str
    endpoint: str | None
    bucket: str

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for prefix, deep in zip(*(batch.column(name).to_pylist() for name in ("prefix", "deep")), strict=True):
                for found in _pages(worker_client(self.region, self.endpoint), self.bucket, prefix, deep):
                    yield self._rows(found)

    def _rows(self, found: list[ObjectTypeDef]) -> pa.RecordBatch:
        # To the second: all that S3 says of a single object.
        when = [item["LastModified"].replace(microsecond=0) for item in found]
        columns = [[f"s3a://{self.bucket}/{item['Key']}" for item in found], [item["Size"] for item in found], when]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _pages(client: S3Client, bucket: str, prefix: str, deep: bool) -> Iterator[list[ObjectTypeDef]]:
    """What lies directly below a prefix, or all, where it is `deep`: a thousand objects a request."""
    with told(f"s3://{bucket}/{prefix}"):
        pages = client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix, Delimiter="" if deep else "/"):
            yield page.get("Contents", [])


def objects(spark: SparkSession, images: Location, aws: Aws, parts: int) -> DataFrame:
    """path, size and modified of every object below a location, listed by about `parts` workers at a time."""
    below = BucketFolder.of(images, aws)
    cut = folders(aws, below.bucket, below.prefix, parts)
    prefixes = spark.createDataFrame(cut, "prefix string, deep boolean").repartition(min(len(cut), 4 * parts))
    return prefixes.mapInArrow(Lister(aws.region, aws.endpoint, below.bucket), OBJECTS)


def weighed(images: Location, aws: Aws) -> tuple[int, int]:
    """How many images there are below a location, without hidden ones, and their bytes: asked for without Spark."""
    below = BucketFolder.of(images, aws)

    def is_image(key: str) -> bool:
        return not key.endswith("/") and re.search(HIDDEN, key.removeprefix(below.prefix)) is None

    def weigh(cut: tuple[str, bool]) -> tuple[int, int]:
        pages = _pages(aws.s3, below.bucket, *cut)
        sizes = [item["Size"] for page in pages for item in page if is_image(item["Key"])]
        return len(sizes), sum(sizes)

    with ThreadPoolExecutor(REQUESTS) as pool:
        parts = list(pool.map(weigh, folders(aws, below.bucket, below.prefix, REQUESTS)))
    return sum(count for count, _ in parts), sum(size for _, size in parts)


def folders(aws: Aws, bucket: str, prefix: str, enough: int) -> list[tuple[str, bool]]:
    """Prefixes that hold all objects between them, each once: (prefix, whether what is in its folders is its as well).

    A folder is looked into by one request: one with more than a thousand names is left whole.
    """
    deep, whole, shallow = [prefix], list[str](), list[str]()
    for _ in range(LEVELS):
        if len(deep) + len(whole) >= enough:
            break
        looked, deep = deep, []
        for folder in looked:
            with told(f"s3://{bucket}/{folder}"):
                page = aws.s3.list_objects_v2(Bucket=bucket, Prefix=folder, Delimiter="/")
            below = [one["Prefix"] for one in page.get("CommonPrefixes", [])]
            if page["IsTruncated"] or not below:
                whole.append(folder)
            else:
                deep += below
                shallow.append(folder)
    return [(folder, True) for folder in deep + whole] + [(folder, False) for folder in shallow]
