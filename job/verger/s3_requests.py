"""How many requests a run makes of S3: counted where they are made, modelled where nobody can ask.

boto3 tells of each request of the driver's Python. S3A counts for its own JVM, the only one of a local run. Workers and
executors can't be asked by the driver: what they do is modelled, from what was measured, and said to be.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FREE = ("Delete", "Abort")  # operations that S3 does for nothing: https://aws.amazon.com/s3/pricing/
READS = ("Get", "Head")
# S3A's own counters (Hadoop, org.apache.hadoop.fs.statistics.StoreStatisticNames): of all requests, and of some kinds.
ALL = "store_io_request"
S3A_READS = ("action_http_get_request", "action_http_head_request")
S3A_FREE = ("object_delete_request", "object_bulk_delete_request")
# Measured on a server's log, runs of 64 and 320 images in 4 to 40 tasks, two executors (docs/cost.md).
READS_A_FILE = 9  # of the store, written and read twice
WRITES_A_FILE = 2
READS_A_RUN, WRITES_A_RUN = 70, 90  # most of them the committer's
NAMES = 1000  # that one request lists


@dataclass(frozen=True)
class Requests:
    """By what they cost: `writes` are PUT, COPY, POST and LIST, `reads` GET, HEAD and the rest. DELETE is free.

    `modelled` is how many of them were not counted.
    """

    writes: int = 0
    reads: int = 0
    modelled: int = 0

    @classmethod
    def model(cls, writes: int, reads: int = 0) -> Requests:
        """Requests that nobody counted."""
        return cls(writes, reads, modelled=writes + reads)

    def __add__(self, other: Requests) -> Requests:
        return Requests(self.writes + other.writes, self.reads + other.reads, self.modelled + other.modelled)

    def __sub__(self, other: Requests) -> Requests:
        return Requests(self.writes - other.writes, self.reads - other.reads, self.modelled - other.modelled)


@dataclass
class Tally:
    """Counts boto3's requests. Usage: client.meta.events.register("before-send.s3", tally.see)"""

    requests: Requests = Requests()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def see(self, event_name: str, **_: Any) -> None:
        """botocore sends `before-send.s3.GetObject`, for each try."""
        operation = event_name.rpartition(".")[2]
        if operation.startswith(FREE):
            return
        read = operation.startswith(READS)
        with self._lock:
            self.requests += Requests(reads=int(read), writes=int(not read))


def of_jvm(spark: SparkSession, buckets: Iterable[str]) -> Requests:
    """What S3A has asked for in these buckets, from this JVM, since it started."""
    jvm: Any = spark._jvm
    configuration: Any = spark.sparkContext._jsc.hadoopConfiguration()
    total = Requests()
    for bucket in buckets:
        files = jvm.org.apache.hadoop.fs.Path(f"s3a://{bucket}/").getFileSystem(configuration)
        counters = dict(files.getIOStatistics().counters())
        reads = sum(counters.get(name, 0) for name in S3A_READS)
        writes = counters.get(ALL, 0) - reads - sum(counters.get(name, 0) for name in S3A_FREE)
        total += Requests(writes, reads)
    return total


def of_workers(new: int, listed: int) -> Requests:
    """What workers ask for: a GET for each new image, and the names of all, if they list them."""
    return Requests.model(writes=ceil(listed / NAMES), reads=new)


def of_executors(files: int) -> Requests:
    """A model of what executors' own JVMs ask for, by the files of the store that they write."""
    return Requests.model(writes=WRITES_A_FILE * files + WRITES_A_RUN, reads=READS_A_FILE * files + READS_A_RUN)
