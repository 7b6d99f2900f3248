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
from verger.locations import HIDDEN, Location
from verger.reading import REQUESTS, worker_client

if TYPE_CHECKING:
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
        """What lies directly below a prefix, or all, where it is `deep`."""
        for batch in batches:
            for prefix, deep in zip(*(batch.column(name).to_pylist() for name in ("prefix", "deep")), strict=True):
                yield from self._pages(prefix, "" if deep else "/")

    def _pages(self, prefix: str, delimiter: str) -> Iterator[pa.RecordBatch]:
        pages = worker_client(self.region, self.endpoint).get_paginator("list_objects_v2")
        with told(f"s3://{self.bucket}/{prefix}"):
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix, Delimiter=delimiter):
                found = page.get("Contents", [])
                # To the second: all that S3 says of a single object.
                when = [item["LastModified"].replace(microsecond=0) for item in found]
                columns = [[f"s3a://{self.bucket}/{item['Key']}" for item in found], [item["Size"] for item in found]]
                yield pa.RecordBatch.from_arrays(
                    [pa.array(values, field.type) for values, field in zip([*columns, when], SCHEMA, strict=True)],
                    schema=SCHEMA,
                )


def objects(spark: SparkSession, images: Location, aws: Aws, parts: int) -> DataFrame:
    """path, size and modified of every object below a location, listed by about `parts` workers at a time."""
    bucket, prefix = _bucket(images)
    cut = folders(aws, bucket, prefix, parts)
    prefixes = spark.createDataFrame(cut, "prefix string, deep boolean").repartition(min(len(cut), 4 * parts))
    return prefixes.mapInArrow(Lister(aws.region, aws.endpoint, bucket), OBJECTS)


def weighed(images: Location, aws: Aws) -> tuple[int, int]:
    """How many images there are below a location, without hidden ones, and their bytes: asked for without Spark."""
    bucket, prefix = _bucket(images)

    def weigh(cut: tuple[str, bool]) -> tuple[int, int]:
        count, size = 0, 0
        folder, deep = cut
        with told(f"s3://{bucket}/{folder}"):
            pages = aws.s3.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=bucket, Prefix=folder, Delimiter="" if deep else "/"):
                for item in page.get("Contents", []):
                    name = item["Key"].removeprefix(prefix)
                    if not (name.endswith("/") or re.search(HIDDEN, name)):
                        count, size = count + 1, size + item["Size"]
        return count, size

    with ThreadPoolExecutor(REQUESTS) as pool:
        parts = list(pool.map(weigh, folders(aws, bucket, prefix, REQUESTS)))
    return sum(count for count, _ in parts), sum(size for _, size in parts)


def _bucket(images: Location) -> tuple[str, str]:
    """A location's bucket, and the prefix of all that is below it."""
    bucket, _, key = images.path.partition("/")
    return bucket, f"{key}/" if key else ""


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
