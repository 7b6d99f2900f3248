"""Image files -> rows of the store: decode and network in one Python pass, nothing image-sized goes back to the JVM."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from verger.catalog import KEY, Catalog, Counts, Plan, bucket, label
from verger.decode import Decoder
from verger.engines import Graph
from verger.lease import Lease
from verger.session import configured
from verger.store import Store
from verger.workers import Counters, Embedder

ROWS = (
    "path string, size bigint, modified timestamp, sha256 string, width int, height int, format string, "
    "status string, reason string, features array<float>"
)


def new_counters(spark: SparkSession) -> Counters:
    sc = spark.sparkContext
    return Counters(sc.accumulator(0), sc.accumulator(0), sc.accumulator(0))


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
        embedder = Embedder(broadcast, self.graph.engine, self.graph.model, self.decoder, threads, self.counters)
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
            label().alias("label"),
            F.lit(self.graph.model).alias("model"),
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
