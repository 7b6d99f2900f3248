"""The objects below a prefix of a bucket, listed by the workers: a thousand names a request, folders side by side.

Spark's own listing asks S3 about each object once more (`HeadObject`), one after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from verger.aws import Aws, told
from verger.locations import Location
from verger.reading import worker_client
from verger.session import slots

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


def objects(spark: SparkSession, images: Location, aws: Aws) -> DataFrame:
    """path, size and modified of every object below a location."""
    bucket, _, key = images.path.partition("/")
    parts = slots(spark)
    cut = folders(aws, bucket, f"{key}/" if key else "", parts)
    prefixes = spark.createDataFrame(cut, "prefix string, deep boolean").repartition(min(len(cut), 4 * parts))
    return prefixes.mapInArrow(Lister(aws.region, aws.endpoint, bucket), OBJECTS)


def folders(aws: Aws, bucket: str, prefix: str, enough: int) -> list[tuple[str, bool]]:
    """Prefixes that hold all objects between them, each once: (prefix, whether what is in its folders is its as well).

    A folder is looked into by one request: one with more than a thousand names is left whole.
    """
    deep, shallow = [prefix], list[str]()
    for _ in range(LEVELS):
        if len(deep) >= enough:
            break
        looked, deep = deep, []
        for folder in looked:
            with told(f"s3://{bucket}/{folder}"):
                page = aws.s3.list_objects_v2(Bucket=bucket, Prefix=folder, Delimiter="/")
            below = [one["Prefix"] for one in page.get("CommonPrefixes", [])]
            if page["IsTruncated"] or not below:
                deep.append(folder)
            else:
                deep += below
                shallow.append(folder)
    return [(folder, True) for folder in deep] + [(folder, False) for folder in shallow]
