"""What runs in Spark's Python workers: Arrow batches in, Arrow batches out.

This module imports nothing of Spark, so that a worker is ready a second earlier, and tests need no JVM.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from verger import parity
from verger.decode import SIDE, BadImage, Decoded, Decoder
from verger.engines import FEATURES, Engine, EngineName, Graph, build, worker_engine
from verger.projection import Projection
from verger.reading import Reader
from verger.statistics import Running, Statistics

T_co = TypeVar("T_co", covariant=True)


class Broadcast(Protocol[T_co]):
    """What a worker sees of a `pyspark.Broadcast`."""

    @property
    def value(self) -> T_co: ...


class Counter(Protocol):
    """A `pyspark.Accumulator[int]`: workers add, the driver reads."""

    @property
    def value(self) -> int: ...

    def add(self, term: int) -> None: ...


class Gatherer(Protocol):
    """A `pyspark.Accumulator[Statistics]`: a task that Spark runs twice counts once, when it is done."""

    @property
    def value(self) -> Statistics: ...

    def add(self, term: Statistics) -> None: ...


@dataclass(frozen=True)
class Counters:
    """What the workers did, counted by them: a task that Spark runs twice counts twice."""

    read: Counter
    embedded: Counter
    failed: Counter

    @property
    def done(self) -> int:
        return self.embedded.value + self.failed.value


@dataclass(frozen=True)
class Embedder:
    """The worker's side: Arrow batches of (path, size, modified) -> batches of ROWS, of the images that can be read."""

    graph: Broadcast[Graph]
    engine: EngineName
    reader: Reader
    model: str  # with the engine, what tells a worker that the one it has built is still the right one
    decoder: Decoder
    threads: int
    counters: Counters
    gatherer: Gatherer | None = None  # for the statistics of what is embedded, task by task

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        engine: Engine | None = None
        running = Running()
        for batch, contents in self.reader.contents(batches):
            engine = engine or worker_engine(self.engine, self.model, self.threads, self._build)
            rows, features = self._embed(batch, contents, engine)
            if self.gatherer is not None:
                running.add(features)
            yield rows
        if self.gatherer is not None:
            self.gatherer.add(running.end())

    def warm(self, _: object) -> None:
        """Build this process's engine, so that the first images find it."""
        worker_engine(self.engine, self.model, self.threads, self._build)

    def _build(self) -> Engine:
        """Build the engine, and see that it computes on this very CPU what TensorFlow did on the driver's."""
        graph = self.graph.value
        engine = build(graph, self.threads)
        parity.check(engine, parity.expected(graph), f"engine {graph.engine} on this worker")
        return engine

    def _embed(
        self, batch: pa.RecordBatch, contents: list[bytes], engine: Engine
    ) -> tuple[pa.RecordBatch, NDArray[np.float32]]:
        outcomes = [_outcome(self.decoder, content) for content in contents]
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
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)), features


@dataclass(frozen=True)
class _Outcome:
    sha256: str
    image: Decoded | None = None
    reason: str | None = None


def _outcome(decoder: Decoder, data: bytes) -> _Outcome:
    digest = hashlib.sha256(data).hexdigest()
    try:
        return _Outcome(digest, image=decoder.decode(data))
    except BadImage as bad:
        return _Outcome(digest, reason=str(bad))


def lists(values: np.ndarray, present: np.ndarray) -> pa.Array:
    """float32 [m, d] -> list<float> of len(present) values, null where `present` is False."""
    d = values.shape[1]
    offsets = np.zeros(len(present) + 1, np.int32)
    np.cumsum(present * d, out=offsets[1:])
    mask = pa.array(~present)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel(), pa.float32()), mask=mask)


def summarise(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of `features` -> one row: the statistics of them all."""
    parts = (Statistics.of(_matrix(batch.column("features"))) for batch in batches if batch.num_rows)
    whole = reduce(add, parts, Statistics.empty(0))
    yield pa.RecordBatch.from_arrays([pa.array([whole.to_bytes()], pa.binary())], names=["statistics"])


@dataclass(frozen=True)
class Projector:
    projection: Broadcast[Projection]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        projection = self.projection.value
        for batch in batches:
            reduced = projection.apply(_matrix(batch.column("features")))
            columns = [batch.column("path"), batch.column("label"), lists(reduced, np.ones(len(reduced), bool))]
            yield pa.RecordBatch.from_arrays(columns, names=["path", "label", "pcaFeatures"])


def _matrix(column: pa.Array) -> NDArray[np.float32]:
    """list<float> of n rows -> float32 [n, d], without a copy."""
    values: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)
