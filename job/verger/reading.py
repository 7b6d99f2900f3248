"""The bytes of images, read by the workers themselves: a file when its turn comes, objects of a bucket ahead of it.

An object takes S3 some 10 to 60 ms, ten times what the network takes: with one request at a time, a core would wait for
most of its time (https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html). One GET is all
that is asked for an object; that it is the one of the listing is read from the answer.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import pyarrow as pa

from verger.locations import Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from verger.aws import Aws

REQUESTS = 16  # at a time for a worker: 300 objects a second where each takes 50 ms, more than a core embeds
TRIES = 5  # of an object whose answer breaks off: botocore itself tries again until an answer begins, and no longer


class Listed(NamedTuple):
    """An image as the listing has it: its size in bytes, the second of its last change since 1970."""

    path: str
    size: int
    second: int


class Reader(Protocol):
    """What reads images in a worker; it is pickled on its way there."""

    def contents(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, list[bytes]]]:
        """Batches of (path, size, modified) -> these, and each image's bytes.

        Images that are gone, that changed since they were listed or can't be read are left out of both.
        """
        ...


@dataclass(frozen=True)
class LocalReader:
    """Files of this machine, or of a volume that all machines have."""

    def contents(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, list[bytes]]]:
        for batch in batches:
            yield _kept(batch, map(_file, _listed(batch)))


@dataclass(frozen=True)
class BucketReader:
    """Objects of buckets in one region, each by one request."""

    region: str
    endpoint: str | None

    def contents(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, list[bytes]]]:
        """Two batches are on their way at a time, so that the next one is there when this one is computed.

        A VergerError when S3 refuses an object, or is away for longer than its client waits.
        """
        client = worker_client(self.region, self.endpoint)
        pool = ThreadPoolExecutor(REQUESTS)
        coming: deque[tuple[pa.RecordBatch, Iterator[bytes | None]]] = deque()
        try:
            for batch in batches:
                coming.append((batch, pool.map(lambda image: _object(client, image), _listed(batch))))
                if len(coming) == 2:
                    yield _kept(*coming.popleft())
            while coming:
                yield _kept(*coming.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def reader(images: Location, aws: Aws | None) -> Reader:
    """What reads the images of a location; `aws` is there whenever any location is in a bucket."""
    if images.is_local:
        return LocalReader()
    assert aws is not None
    return BucketReader(aws.region, aws.endpoint)


def _listed(batch: pa.RecordBatch) -> Iterator[Listed]:
    seconds = (value // 1_000_000 for value in batch.column("modified").cast(pa.int64()).to_pylist())
    return map(Listed, batch.column("path").to_pylist(), batch.column("size").to_pylist(), seconds)


def _kept(batch: pa.RecordBatch, contents: Iterable[bytes | None]) -> tuple[pa.RecordBatch, list[bytes]]:
    found = list(contents)
    there = [content for content in found if content is not None]
    if len(there) < len(found):
        batch = batch.filter(pa.array([content is not None for content in found]))
    return batch, there


def _file(image: Listed) -> bytes | None:
    try:
        with Path(image.path.removeprefix("file:")).open("rb") as file:
            status = os.fstat(file.fileno())
            same = (status.st_size, int(status.st_mtime)) == (image.size, image.second)
            return file.read() if same else None
    except OSError:
        return None


def _object(client: S3Client, image: Listed) -> bytes | None:
    from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

    from verger.aws import told

    with told(image.path.replace("s3a://", "s3://", 1)):
        for _ in range(TRIES - 1):
            with suppress(IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
                return _answered(client, image)
        return _answered(client, image)


def _answered(client: S3Client, image: Listed) -> bytes | None:
    from botocore.exceptions import ClientError

    from verger.aws import code

    bucket, _, key = image.path.removeprefix("s3a://").partition("/")
    try:
        answer = client.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if code(error) == "NoSuchKey":
            return None
        raise
    with closing(answer["Body"]) as body:  # by itself it would give urllib3's stream, whose errors are not botocore's
        same = (answer["ContentLength"], int(answer["LastModified"].timestamp())) == (image.size, image.second)
        return body.read() if same else None


@lru_cache(maxsize=1)
def worker_client(region: str, endpoint: str | None) -> S3Client:
    """A worker's client: like its engine, it is made once for all tasks that the worker is given."""
    from verger.aws import Aws

    return Aws(region, endpoint).s3
