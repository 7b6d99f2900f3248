"""What images there are, which of them are new, and how to cut those into commits and tasks.

Spark lists the folder once. The same listing serves the ledger's question (what is new?) and, pruned by file, the
reading: no path is ever handed to Spark twice, and an image that is known is never opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from verger.locations import Location
from verger.session import slots

KEY = ["path", "size", "modified"]  # with the model, what makes an image known
COMMIT = 4096  # images a task slot and commit: half a minute's work
TASK_BYTES = 64 << 20
ARROW_BYTES = 16 << 20  # of image files in one Arrow batch
ARROW_ROWS = 64
IMAGE_COST = 1 << 20  # bytes of image whose decoding takes as long as one pass of the network


@dataclass(frozen=True)
class Counts:
    """Of a listing: images, and what the store knows of them."""

    listed: int
    new: int
    embedded: int  # known, with features
    failed: int  # known, to be bad
    others: int  # rows of the store that are not in the listing
    new_bytes: int
    largest: int  # bytes of the largest new image


@dataclass(frozen=True)
class Catalog:
    """`files`: Spark's binaryFile relation; `listing`: path, label, size, modified of every image."""

    files: DataFrame
    listing: DataFrame

    @classmethod
    def of(cls, spark: SparkSession, images: Location, include: str) -> Catalog:
        files = (
            spark.read.format("binaryFile")
            .option("recursiveFileLookup", "true")
            .option("pathGlobFilter", include)
            .option("__globPaths__", "false")  # a folder may be called fruits[2]
            .option("ignoreMissingFiles", "true")  # deleted meanwhile: a row with a reason, not a dead task
            .option("ignoreCorruptFiles", "true")  # unreadable: likewise
            .load(images.uri)
        )
        listing = files.select(
            "path",
            F.element_at(F.split("path", "/"), -2).alias("label"),
            F.col("length").alias("size"),
            F.col("modificationTime").alias("modified"),
            F.col("_metadata.file_path").alias("url"),
        )
        return cls(files, listing.persist())

    def count(self, known: DataFrame | None) -> Counts:
        """Compare the listing with what the store knows (KEY, status); None is an empty store."""
        is_new = F.col("status").isNull()
        if known is None:
            rows = self.listing.withColumn("status", F.lit(None).cast("string"))
        else:
            rows = self.listing.join(known, on=KEY, how="full_outer")
        listed = F.col("url").isNotNull()
        row = rows.agg(
            F.count_if(listed).alias("listed"),
            F.count_if(listed & is_new).alias("new"),
            F.count_if(listed & (F.col("status") == "embedded")).alias("embedded"),
            F.count_if(listed & (F.col("status") == "failed")).alias("failed"),
            F.count_if(~listed).alias("others"),
            F.coalesce(F.sum(F.when(is_new, F.col("size"))), F.lit(0)).alias("new_bytes"),
            F.coalesce(F.max(F.when(is_new, F.col("size"))), F.lit(0)).alias("largest"),
        ).first()
        assert row is not None  # an aggregate without groups has one row
        return Counts(**row.asDict())

    def new(self, known: DataFrame | None) -> DataFrame:
        """The listing's images that the store does not know."""
        return self.listing if known is None else self.listing.join(known.select(*KEY), on=KEY, how="left_anti")


def bucket(of: int, url: str = "_metadata.file_path") -> Column:
    """Which of `of` commits an image belongs to: by a hash of its name, the same in every run."""
    return F.pmod(F.xxhash64(url), F.lit(of))


@dataclass(frozen=True)
class Plan:
    """How new images are cut: into commits, each into tasks, and tasks into Arrow batches."""

    commits: int
    tasks: int  # a commit
    arrow_rows: int
    image_cost: int
    task_cost: int

    @classmethod
    def of(cls, counts: Counts, slots: int, commit_every: int | None, partitions: int | None) -> Plan:
        """Tasks are equal in count and bytes, and a multiple of the slots, so that all end together."""
        commits = ceil(counts.new / (commit_every or COMMIT * slots))
        images, size = ceil(counts.new / commits), ceil(counts.new_bytes / commits)
        rounds = max(ceil(images / slots / 512), ceil(size / slots / TASK_BYTES), min(4, ceil(images / slots / 32)))
        tasks = min(partitions or rounds * slots, images)
        cost = size + images * IMAGE_COST
        rows = max(1, min(ARROW_ROWS, ARROW_BYTES // max(counts.largest, 1)))
        # Spark closes a task before it passes the limit: one more image each keeps the last ones from overflowing.
        return cls(commits, tasks, rows, IMAGE_COST, ceil(cost / tasks) + IMAGE_COST + counts.largest)

    def settings(self) -> dict[str, int]:
        """What makes Spark's own packing of files follow the plan (for `session.configured`)."""
        return {
            "spark__sql__files__openCostInBytes": self.image_cost,
            "spark__sql__files__maxPartitionBytes": self.task_cost,
            "spark__sql__files__minPartitionNum": 1,
            "spark__sql__execution__arrow__maxRecordsPerBatch": self.arrow_rows,
        }


def plan(spark: SparkSession, counts: Counts, commit_every: int | None, partitions: int | None) -> Plan:
    return Plan.of(counts, slots(spark), commit_every, partitions)
