"""A list of images that somebody else made: an S3 Inventory, or any Parquet of path, size and modified.

To list a prefix of millions of keys takes S3 one request after another; an Inventory has them in a few files.
"""

from __future__ import annotations

from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from verger.errors import SettingsError
from verger.locations import HIDDEN, Location

PLAIN = {"path", "size", "modified"}
INVENTORY = {"bucket", "key", "size", "last_modified_date"}  # Amazon S3 User Guide, "Amazon S3 Inventory list"


def entries(spark: SparkSession, manifest: Location, images: Location, include: str) -> DataFrame:
    """path, size, modified of the images below `images`; a SettingsError for a Parquet that can't tell them.

    What a listing of the folder would leave out is left out here: hidden names, and names that `include` does not
    take. So are old versions and deleted objects of an Inventory.
    """
    rows = _read(spark, manifest)
    path = _path(rows, manifest, images)
    modified = F.col("modified" if "modified" in rows.columns else "last_modified_date").cast("timestamp")
    if not images.is_local:
        modified = F.date_trunc("second", modified)  # all that S3 says of a single object
    size = F.col("size").cast("bigint")
    listed = rows.where(_is_current(rows)).select(path.alias("path"), size.alias("size"), modified.alias("modified"))
    return chosen(spark, listed, images, include).dropDuplicates(["path"])


def chosen(spark: SparkSession, listed: DataFrame, images: Location, include: str) -> DataFrame:
    """Those of the listed paths that are below `images`, are not hidden, and have names that `include` takes."""
    prefix = f"{images.uri.rstrip('/')}/"
    below = F.col("path").substr(len(prefix) + 1, 1 << 20)
    name = F.element_at(F.split("path", "/"), -1)
    return listed.where(
        F.col("path").startswith(prefix)
        & ~below.rlike(HIDDEN)
        & (name != "")
        & name.rlike(f"^(?:{_pattern(spark, include)})$")
    )


def _read(spark: SparkSession, manifest: Location) -> DataFrame:
    try:
        return spark.read.parquet(manifest.uri)
    except AnalysisException as error:
        said = str(error).splitlines()[0]
        raise SettingsError(f"--manifest {manifest}: no Parquet to read ({said}); give its file or folder") from error


def _path(rows: DataFrame, manifest: Location, images: Location) -> Column:
    """The path as Spark's file sources write it: `s3a://bucket/key`, `file:/folder/name`."""
    columns = set(rows.columns)
    if columns >= INVENTORY:
        return F.concat(F.lit("s3a://"), "bucket", F.lit("/"), "key")
    if columns >= PLAIN:
        given = F.regexp_replace(F.regexp_replace("path", "^s3a?://", "s3a://"), "^(file:)?/+", "file:/")
        relative = F.concat(F.lit(f"{images.uri.rstrip('/')}/"), given)
        return F.when(given.rlike("^(s3a://|file:/)"), given).otherwise(relative)
    missing, plain, inventory = (
        ", ".join(sorted(names)) for names in (min((PLAIN - columns, INVENTORY - columns), key=len), PLAIN, INVENTORY)
    )
    raise SettingsError(
        f"--manifest {manifest}: has no column {missing}; it needs {plain}, or an S3 Inventory's {inventory}"
    )


def _is_current(rows: DataFrame) -> Column:
    """Whether a row of an Inventory is an object that can be read now."""
    current = F.lit(True)
    if "is_latest" in rows.columns:
        current &= F.coalesce(F.col("is_latest"), F.lit(True))
    if "is_delete_marker" in rows.columns:
        current &= ~F.coalesce(F.col("is_delete_marker"), F.lit(False))
    return current


def _pattern(spark: SparkSession, glob: str) -> str:
    """The regular expression of a glob, by Hadoop, which Spark asks when it lists a folder."""
    jvm: Any = spark._jvm
    return str(jvm.org.apache.hadoop.fs.GlobPattern(glob).compiled().pattern())
