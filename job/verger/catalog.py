"""What images there are, which of them are new, and how to cut those into commits and tasks.

Spark lists the folder once. The same listing serves the ledger's question (what is new?) and, pruned by file, the
reading: no path is ever handed to Spark twice, and an image that is known is never opened. With a manifest, nothing is
listed, and Spark is handed the paths of one commit at a time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import compress
from math import ceil
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from verger import inventory
from verger.locations import Location
from verger.session import configured, slots

KEY = ["path", "size", "modified"]  # with the model, what makes an image known
AGAIN = "again"  # the status of a known image that is tried again
LOOKS_AT_A_TIME = 32
COMMIT = 8192  # images a task slot and commit: a minute's work
TASK_IMAGES = 4096  # at most: to begin a task takes as long as 50 images
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
    """`listing`: path, label, size, modified and url of every image; `files`: the folder as a binaryFile relation,
    None when a manifest stands for it."""

    files: DataFrame | None
    listing: DataFrame

    @classmethod
    def of(cls, spark: SparkSession, images: Location, include: str) -> Catalog:
        files = binary_files(spark, images.uri, include)
        listing = files.select(
            "path",
            label().alias("label"),
            F.col("length").alias("size"),
            F.col("modificationTime").alias("modified"),
            F.col("_metadata.file_path").alias("url"),
        )
        with listed_by(spark):
            return cls(files, listing.persist())

    @classmethod
    def of_manifest(cls, spark: SparkSession, manifest: Location, images: Location, include: str) -> Catalog:
        entries = inventory.entries(spark, manifest, images, include)
        listing = entries.select("path", label().alias("label"), "size", "modified", F.col("path").alias("url"))
        return cls(None, listing.persist())

    @classmethod
    def take(
        cls, spark: SparkSession, images: Location, include: str, known: DataFrame | None, manifest: Location | None
    ) -> tuple[Catalog, Counts]:
        """List the images and compare them with what the store knows (KEY, status); None is an empty store."""
        if manifest is not None:
            catalog = cls.of_manifest(spark, manifest, images, include)
            return catalog, catalog.count(known)
        catalog = cls.of(spark, images, include)
        counts = catalog.count(known)
        if len(catalog._urls()) > counts.listed:
            catalog = catalog.with_empty()
            counts = catalog.count(known)
        return catalog, counts

    def only(self, urls: list[str]) -> DataFrame | None:
        """The files of some of the listing's urls; None when none of them is there any more."""
        if self.files is not None:
            return self.files.where(F.col("_metadata.file_path").isin(urls))
        spark = self.listing.sparkSession
        try:
            return binary_files(spark, urls) if urls else None
        except AnalysisException as error:  # a manifest may be a day old, and one path that is gone is enough
            if "[PATH_NOT_FOUND]" not in str(error):
                raise
            there = present(spark, urls)
            return binary_files(spark, there) if there else None

    def with_empty(self) -> Catalog:
        """With the files of no bytes, which Spark's file sources leave out without a word.

        When they changed is not known: 0 is given, and once such a file is filled it has another size.
        """
        empty = (
            self._found()
            .join(self.listing.select("path"), on="path", how="left_anti")
            .select(
                "path",
                label().alias("label"),
                F.lit(0).cast("bigint").alias("size"),
                F.timestamp_seconds(F.lit(0)).alias("modified"),
                F.col("path").alias("url"),
            )
        )
        return Catalog(self.files, self.listing.union(empty).persist())

    def _found(self) -> DataFrame:
        """The path of every file, as Spark's file index has it; the names stay in the JVM."""
        spark = self.listing.sparkSession
        functions: Any = spark._jvm.org.apache.spark.sql.functions  # type: ignore[union-attr]
        urls = type(F.lit(0))(functions.lit(self._urls()))
        decoded = F.expr("url_decode(replace(url, '+', '%2B'))")
        found = spark.range(1).select(F.explode(urls).alias("url"))
        return found.select(F.regexp_replace(decoded, "^file:/+", "file:/").alias("path"))

    def _urls(self) -> Any:
        """The url of every file of the folder, in the JVM."""
        assert self.files is not None
        return self.files._jdf.inputFiles()

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
        listed, is_new = F.col("url").isNotNull(), F.coalesce(F.col("status") == AGAIN, F.lit(True))
        return rows.agg(
            F.count_if(listed).alias("listed"),
            F.count_if(listed & is_new).alias("new"),
            F.count_if(listed & (F.col("status") == "embedded")).alias("embedded"),
            F.count_if(listed & (F.col("status") == "failed")).alias("failed"),
            F.count_if(~listed).alias("others"),
            F.coalesce(F.sum(F.when(is_new, F.col("size"))), F.lit(0)).alias("new_bytes"),
            F.coalesce(F.max(F.when(is_new, F.col("size"))), F.lit(0)).alias("largest"),
        ).first()

    def new(self, known: DataFrame | None) -> DataFrame:
        """The listing's images that the store does not know, or wants again."""
        if known is None:
            return self.listing
        return self.listing.join(known.where(F.col("status") != AGAIN).select(*KEY), on=KEY, how="left_anti")


def binary_files(spark: SparkSession, urls: str | list[str], include: str = "*") -> DataFrame:
    """Spark's relation of files with their content: those below a folder, or these."""
    return (
        spark.read.format("binaryFile")
        .option("recursiveFileLookup", "true")
        .option("pathGlobFilter", include)
        .option("__globPaths__", "false")  # a folder may be called fruits[2]
        .option("ignoreMissingFiles", "true")  # deleted meanwhile: a row with a reason, not a dead task
        .option("ignoreCorruptFiles", "true")  # unreadable: likewise
        .load(urls)
    )


def present(spark: SparkSession, urls: list[str]) -> list[str]:
    """Those of the files that are there, asked side by side."""
    jvm: Any = spark._jvm
    configuration: Any = spark.sparkContext._jsc.hadoopConfiguration()

    def is_there(url: str) -> bool:
        path = jvm.org.apache.hadoop.fs.Path(url)
        return bool(path.getFileSystem(configuration).exists(path))

    with ThreadPoolExecutor(LOOKS_AT_A_TIME) as pool:
        return list(compress(urls, pool.map(is_there, urls)))


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
        by_count = max(ceil(images / slots / TASK_IMAGES), min(3, ceil(images / slots / 256)))
        rounds = max(by_count, ceil(size / slots / TASK_BYTES))
        tasks = min(partitions or rounds * slots, images)
        rows = max(1, min(ARROW_ROWS, ARROW_BYTES // max(counts.largest, 1)))
        # Spark closes a task when the next file would pass the limit: half an image's cost keeps equal ones apart, and
        # what the largest has above the mean lets uneven ones fit.
        mean = ceil(size / images)
        limit = ceil(images / tasks) * (IMAGE_COST + mean) - IMAGE_COST // 2 + max(counts.largest - mean, 0)
        return cls(commits, tasks, rows, IMAGE_COST, limit)

    def settings(self) -> dict[str, int]:
        """What makes Spark's own packing of files follow the plan (for `session.configured`)."""
        return {
            "spark__sql__files__openCostInBytes": self.image_cost,
            "spark__sql__files__maxPartitionBytes": self.task_cost,
            "spark__sql__files__minPartitionNum": 1,
            "spark__sql__execution__arrow__maxRecordsPerBatch": self.arrow_rows,
        }
