"""What images there are, which of them are new, and how to cut those into commits and tasks.

A folder is listed once, or a manifest read instead. That listing, which Spark keeps, serves the ledger's question
(what is new?) and the workers, who read what it names: an image that is known is never opened.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from verger import inventory
from verger.locations import Location
from verger.session import configured, slots

if TYPE_CHECKING:
    from verger.aws import Aws

KEY = ["path", "size", "modified"]  # with the model, what makes an image known
AGAIN = "again"  # the status of a known image that is tried again
COMMIT = 8192  # images a task slot and commit: a minute's work
TASK_IMAGES = 4096  # at most: to begin a task takes as long as 50 images
TASK_BYTES = 64 << 20
ARROW_BYTES = 16 << 20  # of image files in one Arrow batch
ARROW_ROWS = 64


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
    """`listing`: path, label, size and modified of every image."""

    listing: DataFrame

    @classmethod
    def take(
        cls,
        spark: SparkSession,
        images: Location,
        include: str,
        known: DataFrame | None,
        manifest: Location | None,
        aws: Aws | None,
    ) -> tuple[Catalog, Counts]:
        """List the images and compare them with what the store knows (KEY, status); None is an empty store."""
        if (listed := _listed(spark, images, include, manifest, aws)) is not None:
            catalog = cls(_labelled(listed).persist())
            return catalog, catalog.count(known)
        files = binary_files(spark, images.uri, include)
        with listed_by(spark):
            catalog = cls(_labelled(files).persist())
        counts = catalog.count(known)
        urls: Any = files._jdf.inputFiles()  # of every file of the folder, in the JVM
        if len(urls) > counts.listed:
            catalog = catalog.with_empty(urls)
            counts = catalog.count(known)
        return catalog, counts

    def with_empty(self, urls: Any) -> Catalog:
        """With the files of no bytes, which Spark's file sources leave out without a word.

        When they changed is not known: 0 is given, and once such a file is filled it has another size.
        """
        empty = (
            self._found(urls)
            .join(self.listing.select("path"), on="path", how="left_anti")
            .select(
                "path",
                F.lit(0).cast("bigint").alias("size"),
                F.timestamp_seconds(F.lit(0)).alias("modified"),
            )
        )
        return Catalog(self.listing.union(_labelled(empty)).persist())

    def _found(self, urls: Any) -> DataFrame:
        """The path of every file, of Spark's file index's urls; the names stay in the JVM."""
        spark = self.listing.sparkSession
        functions: Any = spark._jvm.org.apache.spark.sql.functions  # type: ignore[union-attr]
        decoded = F.expr("url_decode(replace(url, '+', '%2B'))")
        found = spark.range(1).select(F.explode(type(F.lit(0))(functions.lit(urls))).alias("url"))
        return found.select(F.regexp_replace(decoded, "^file:/+", "file:/").alias("path"))

    def count(self, known: DataFrame | None) -> Counts:
        """What the store knows of the listing (KEY, status), and what it does not."""
        if known is None:
            rows = self.listing.withColumn("status", F.lit(None).cast("string"))
        else:
            rows = self.listing.join(known, on=KEY, how="full_outer")
        with listed_by(self.listing.sparkSession):
            row = self._totals(rows)
        assert row is not None  # an aggregate without groups has one row
        return Counts(**row.asDict())

    @staticmethod
    def _totals(rows: DataFrame) -> Row | None:
        listed, is_new = F.col("label").isNotNull(), F.coalesce(F.col("status") == AGAIN, F.lit(True))
        return rows.agg(
            F.count_if(listed).alias("listed"),
            F.count_if(listed & is_new).alias("new"),
            F.count_if(listed & (F.col("status") == "embedded")).alias("embedded"),
            F.count_if(listed & (F.col("status") == "failed")).alias("failed"),
            F.count_if(~listed).alias("others"),
            F.coalesce(F.sum(F.when(listed & is_new, F.col("size"))), F.lit(0)).alias("new_bytes"),
            F.coalesce(F.max(F.when(listed & is_new, F.col("size"))), F.lit(0)).alias("largest"),
        ).first()

    def new(self, known: DataFrame | None) -> DataFrame:
        """The listing's images that the store does not know, or wants again."""
        if known is None:
            return self.listing
        return self.listing.join(known.where(F.col("status") != AGAIN).select(*KEY), on=KEY, how="left_anti")


def _listed(
    spark: SparkSession, images: Location, include: str, manifest: Location | None, aws: Aws | None
) -> DataFrame | None:
    """What a manifest or a bucket lists; None for a folder, which Spark does."""
    if manifest is not None:
        return inventory.entries(spark, manifest, images, include)
    if images.is_local:
        return None
    from verger import listing  # boto3, which local runs need not wait for

    assert aws is not None
    return inventory.chosen(spark, listing.objects(spark, images, aws, slots(spark)), images, include)


def binary_files(spark: SparkSession, url: str, include: str = "*") -> DataFrame:
    """path, size and modified of a file, or of those below a folder."""
    files = (
        spark.read.format("binaryFile")
        .option("recursiveFileLookup", "true")
        .option("pathGlobFilter", include)
        .option("__globPaths__", "false")  # a folder may be called fruits[2]
        .option("ignoreMissingFiles", "true")  # deleted meanwhile: not in the listing, and not a dead task
        .load(url)
    )
    return files.select("path", F.col("length").alias("size"), F.col("modificationTime").alias("modified"))


def _labelled(images: DataFrame) -> DataFrame:
    return images.select("path", label().alias("label"), "size", "modified")


def label() -> Column:
    """The parent folder's name."""
    return F.element_at(F.split("path", "/"), -2)


def listed_by(spark: SparkSession) -> AbstractContextManager[None]:
    """Look at the files in a few tasks a slot, whatever they weigh: nothing of them is read."""
    return configured(
        spark,
        spark__sql__files__openCostInBytes=1,
        spark__sql__files__maxPartitionBytes=1 << 60,
        spark__sql__files__minPartitionNum=2 * slots(spark),
    )


def bucket(of: int) -> Column:
    """Which of `of` commits an image belongs to: by a hash of its name, the same in every run."""
    return F.pmod(F.xxhash64("path"), F.lit(of))


@dataclass(frozen=True)
class Plan:
    """How new images are cut: into commits, each into tasks, and tasks into Arrow batches."""

    commits: int
    tasks: int  # a commit
    arrow_rows: int

    @classmethod
    def of(cls, counts: Counts, slots: int, commit_every: int | None, partitions: int | None) -> Plan:
        """Tasks are equal in count, few by count and bytes, and a multiple of the slots, so that all end together."""
        commits = ceil(counts.new / (commit_every or COMMIT * slots))
        images, size = ceil(counts.new / commits), ceil(counts.new_bytes / commits)
        by_count = max(ceil(images / slots / TASK_IMAGES), min(3, ceil(images / slots / 256)))
        rounds = max(by_count, ceil(size / slots / TASK_BYTES))
        tasks = min(partitions or rounds * slots, images)
        rows = max(1, min(ARROW_ROWS, ARROW_BYTES // max(counts.largest, 1)))
        return cls(commits, tasks, rows)
