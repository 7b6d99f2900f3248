"""Image files -> rows of the store: decode and network in one Python pass, nothing image-sized goes back to the JVM."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from pyspark import Broadcast
from pyspark.accumulators import Accumulator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from verger import network
from verger.catalog import Catalog, Counts, Plan, bucket
from verger.decode import SIDE, BadImage, Decoded, Decoder
from verger.engines import Engine, Graph, build, worker_engine
from verger.lease import Lease
from verger.session import configured
from verger.settings import FEATURES
from verger.store import Store

ROWS = (
    "path string, size bigint, modified timestamp, sha256 string, width int, height int, format string, "
    "status string, reason string, features array<float>"
)


@dataclass(frozen=True)
class Counters:
    """What the workers did, counted by them: a task that Spark runs twice counts twice."""

    read: Accumulator[int]
    embedded: Accumulator[int]
    failed: Accumulator[int]

    @classmethod
    def of(cls, spark: SparkSession) -> Counters:
        sc = spark.sparkContext
        return cls(sc.accumulator(0), sc.accumulator(0), sc.accumulator(0))

    @property
    def done(self) -> int:
        return int(self.embedded.value + self.failed.value)


@dataclass(frozen=True)
class Embedder:
    """The worker's side: Arrow batches of (path, size, modified, content) -> batches of ROWS."""

    graph: Broadcast[Graph]
    name: tuple[str, str]  # engine and model: what tells a worker that its engine is still the right one
    decoder: Decoder
    threads: int
    counters: Counters

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        engine: Engine | None = None
        for batch in batches:
            engine = engine or worker_engine(self.name[0], self.name[1], self.threads, self._build)  # type: ignore[arg-type]
            yield self._embed(batch, engine)

    def _build(self) -> Engine:
        """Build the engine, and see that it computes on this very CPU what TensorFlow did on the driver's."""
        graph = self.graph.value
        engine = build(graph, self.threads)
        network.check(engine, network.expected(graph), f"engine {graph.engine} on this worker")
        return engine

    def _embed(self, batch: pa.RecordBatch, engine: Engine) -> pa.RecordBatch:
        outcomes = [_outcome(self.decoder, data) for data in _contents(batch.column("content"))]
        good = [outcome.image.pixels for outcome in outcomes if outcome.image is not None]
        pixels = np.stack(good) if good else np.empty((0, SIDE, SIDE, 3), np.uint8)
        features = engine.embed(pixels) if good else np.empty((0, FEATURES), np.float32)
        self.counters.read.add(batch.num_rows)
        self.counters.embedded.add(len(good))
        self.counters.failed.add(batch.num_rows - len(good))
        images = [outcome.image for outcome in outcomes]
        columns = {
            "path": batch.column("path"),
            "size": batch.column("size"),
            "modified": batch.column("modified"),
            "sha256": pa.array([outcome.sha256 for outcome in outcomes], pa.string()),
            "width": pa.array([image and image.width for image in images], pa.int32()),
            "height": pa.array([image and image.height for image in images], pa.int32()),
            "format": pa.array([image and image.format for image in images], pa.string()),
            "status": pa.array(["embedded" if image else "failed" for image in images], pa.string()),
            "reason": pa.array([outcome.reason for outcome in outcomes], pa.string()),
            "features": lists(features, np.array([image is not None for image in images])),
        }
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


@dataclass(frozen=True)
class _Outcome:
    sha256: str
    image: Decoded | None = None
    reason: str | None = None


def _outcome(decoder: Decoder, data: memoryview) -> _Outcome:
    digest = hashlib.sha256(data).hexdigest()
    try:
        return _Outcome(digest, image=decoder.decode(data))
    except BadImage as bad:
        return _Outcome(digest, reason=str(bad))


def _contents(column: pa.Array) -> Iterator[memoryview]:
    """Each value's bytes, without a copy."""
    for value in column:
        buffer = value.as_buffer()
        yield memoryview(b"") if buffer is None or buffer.size == 0 else memoryview(buffer).cast("B")


def lists(values: np.ndarray, present: np.ndarray) -> pa.Array:
    """float32 [m, d] -> list<float> of len(present) values, null where `present` is False."""
    d = values.shape[1]
    offsets = np.zeros(len(present) + 1, np.int32)
    np.cumsum(present * d, out=offsets[1:])
    mask = pa.array(~present)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel(), pa.float32()), mask=mask)


@dataclass
class Features:
    """The driver's side: new images into the store, commit by commit."""

    catalog: Catalog
    store: Store
    graph: Graph
    decoder: Decoder
    run: str
    max_bytes: int
    counters: Counters
    commits: int = field(default=0, init=False)

    def embed(self, counts: Counts, plan: Plan, known: DataFrame | None, lease: Lease) -> None:
        """Embed and commit what is new; a run that is killed loses the commit it was at, and no more."""
        spark = self.store.spark
        threads = int(spark.conf.get("spark.task.cpus", "1") or 1)
        broadcast = spark.sparkContext.broadcast(self.graph)
        embedder = Embedder(broadcast, (self.graph.engine, self.graph.model), self.decoder, threads, self.counters)
        everything = counts.new == counts.listed
        new = None if everything else self.catalog.new(known).select("url").persist()
        for number in range(plan.commits):
            wanted = bucket(plan.commits) == number
            if new is not None:  # bounded by the size of a commit
                urls = [row.url for row in new.where(bucket(plan.commits, "url") == number).collect()]
                wanted = F.col("_metadata.file_path").isin(urls)
            lease.check()
            with configured(spark, **plan.settings()):
                self.store.append(self._rows(embedder, None if plan.commits == 1 and new is None else wanted))
            self.commits += 1
        if new is not None:
            new.unpersist()
        broadcast.unpersist()

    def _rows(self, embedder: Embedder, wanted: object) -> DataFrame:
        files = self.catalog.files if wanted is None else self.catalog.files.where(wanted)  # type: ignore[arg-type]
        images = files.where(F.col("length") <= self.max_bytes).select(
            "path", F.col("length").alias("size"), F.col("modificationTime").alias("modified"), "content"
        )
        return self._complete(images.mapInArrow(embedder, ROWS))

    def _complete(self, rows: DataFrame) -> DataFrame:
        return rows.select(
            "*",
            F.element_at(F.split("path", "/"), -2).alias("label"),
            F.lit(self.graph.model).alias("model"),
            F.lit(self.run).alias("run"),
        )

    def record_unread(self) -> None:
        """A failed row for each listed image that has none: too large to be read, or not readable at all."""
        seen = self.store.rows().select("path", "size", "modified")
        unread = self.catalog.listing.join(seen, on=["path", "size", "modified"], how="left_anti")
        reason = F.when(
            F.col("size") > self.max_bytes,
            F.concat(F.lit("too many bytes: "), "size", F.lit(f", more than {self.max_bytes}")),
        ).otherwise(F.lit("unreadable: the file could not be read, or changed or was deleted during the run"))
        empty = {"sha256": "string", "width": "int", "height": "int", "format": "string", "features": "array<float>"}
        self.store.append(
            self._complete(
                unread.select(
                    "path",
                    "size",
                    "modified",
                    *(F.lit(None).cast(kind).alias(name) for name, kind in empty.items()),
                    F.lit("failed").alias("status"),
                    reason.alias("reason"),
                )
            )
        )
