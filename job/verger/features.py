"""Image files -> rows of the store: decode and network in one Python pass, nothing image-sized goes back to the JVM."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from pyspark import AccumulatorParam, SparkContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from verger.catalog import KEY, Catalog, Plan, bucket, label
from verger.decode import Decoder
from verger.engines import Graph
from verger.lease import Lease
from verger.reading import Reader
from verger.session import configured
from verger.statistics import Statistics
from verger.store import Store
from verger.workers import Counters, Embedder

ROWS = (
    "path string, size bigint, modified timestamp, sha256 string, width int, height int, format string, "
    "status string, reason string, features array<float>"
)


COMMITS_AT_A_TIME = 2


def _next(commits: set[Future[None]], lease: Lease) -> tuple[set[Future[None]], set[Future[None]]]:
    """Wait until a commit ends or the lease is lost: what has ended, and the commits that have not.

    When S3 is away, Spark takes image by image for unreadable and Delta makes one request after the other, each for a
    minute: a commit may not end for hours.
    """
    ended, going_on = wait({lease.lost, *commits}, return_when=FIRST_COMPLETED)
    return ended, going_on - {lease.lost}


class _Sum(AccumulatorParam[Statistics]):
    def zero(self, value: Statistics) -> Statistics:
        return value

    def addInPlace(self, value1: Statistics, value2: Statistics) -> Statistics:  # noqa: N802 - PySpark's name
        return value1 + value2


def gathering(embedder: Embedder, context: SparkContext) -> Embedder:
    """An embedder whose workers also give the statistics of what they embed: `gatherer.value`, on the driver."""
    return replace(embedder, gatherer=context.accumulator(Statistics.empty(0), _Sum()))


def new_embedder(context: SparkContext, graph: Graph, decoder: Decoder, reader: Reader) -> Embedder:
    """What workers embed with: the graph is broadcast, threads are a task's cores."""
    threads = int(context.getConf().get("spark.task.cpus", "1") or 1)
    counters = Counters(context.accumulator(0), context.accumulator(0), context.accumulator(0))
    return Embedder(context.broadcast(graph), graph.engine, reader, graph.model, decoder, threads, counters)


def warm(context: SparkContext, embedder: Embedder) -> None:
    """Start a worker a slot and build its engine, while the driver is busy with the session and the listing.

    A plain RDD needs no session. A failure here is told again by the first batch of images.
    """
    slots = context.defaultParallelism
    context.parallelize(range(slots), slots).foreach(embedder.warm)


def _detached(rows: DataFrame) -> DataFrame:
    """The same rows, of a plan in which the store is not to be seen.

    Delta takes an append that reads the table it adds to for one that can't go beside another; and what Spark keeps of
    a plan that reads a table, it computes again after each commit to it.
    """
    spark = rows.sparkSession
    session: Any = spark._jsparkSession
    return DataFrame(session.createDataFrame(rows._jdf.rdd(), rows._jdf.schema()), spark)


@dataclass(frozen=True)
class Features:
    """The driver's side: new images into the store, commit by commit."""

    catalog: Catalog
    store: Store
    embedder: Embedder
    run: str
    max_bytes: int

    def embed(self, plan: Plan, known: DataFrame | None, lease: Lease) -> None:
        """Embed and commit what is new; a run that is killed loses the commits it was at, and no more.

        Two commits are under way at a time, so that one's last tasks and its transaction leave no core idle.
        """
        spark = self.store.spark
        new = self.catalog.new(known).where((F.col("size") > 0) & (F.col("size") <= self.max_bytes)).select(*KEY)
        if known is not None:  # else it is the listing, which Spark keeps already
            new = _detached(new).persist()

        def commit(number: int) -> None:
            lease.check()
            chosen = new if plan.commits == 1 else new.where(bucket(plan.commits) == number)
            self.store.append(self._rows(chosen.repartition(plan.tasks)))

        numbers = iter(range(plan.commits))
        pool = ThreadPoolExecutor(COMMITS_AT_A_TIME)
        commits = {pool.submit(commit, number) for number in islice(numbers, COMMITS_AT_A_TIME)}
        try:
            with configured(spark, spark__sql__execution__arrow__maxRecordsPerBatch=plan.arrow_rows):
                while commits:  # none is begun once another has failed
                    ended, commits = _next(commits, lease)
                    for future in ended:
                        future.result()
                    commits |= {pool.submit(commit, number) for number in islice(numbers, len(ended))}
        except BaseException:
            spark.sparkContext.cancelAllJobs()  # the other commit would go on
            while commits and not lease.lost.done():
                _, commits = _next(commits, lease)
            raise
        finally:
            pool.shutdown(wait=False)
        if known is not None:
            new.unpersist()

    def _rows(self, images: DataFrame) -> DataFrame:
        return self._complete(images.mapInArrow(self.embedder, ROWS))

    def _complete(self, rows: DataFrame) -> DataFrame:
        return rows.select(
            "*",
            label().alias("label"),
            F.lit(self.embedder.model).alias("model"),
            F.lit(self.run).alias("run"),
        )

    def record_unread(self) -> None:
        """A failed row for each listed image that has none: empty, too large, or not readable."""
        unread = self.catalog.listing.join(self.store.rows().select(*KEY), on=KEY, how="left_anti")
        too_many = F.concat(F.lit("too many bytes: "), "size", F.lit(f", more than {self.max_bytes}"))
        reason = F.when(F.col("size") == 0, F.lit("empty: the file has no bytes"))
        reason = reason.when(F.col("size") > self.max_bytes, too_many).otherwise(
            F.lit("unreadable: the file could not be read, or changed or was deleted during the run")
        )
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
