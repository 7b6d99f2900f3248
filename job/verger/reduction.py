"""The two passes over the features that Spark makes: statistics, then projection."""

from __future__ import annotations

from functools import reduce
from operator import add

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from verger.projection import Projection
from verger.session import configured, slots
from verger.statistics import Statistics
from verger.workers import Projector, summarise

BLOCK = 2048  # rows an Arrow batch: 10 MB of features, 21 MB in float64
PARTIALS = 64  # statistics brought to the driver at most, 6.6 MB each, however many images there are
PROJECTED = "path string, label string, pcaFeatures array<float>"


def embedded(rows: DataFrame) -> DataFrame:
    """The rows of a store that carry features: path, label, features."""
    return rows.where(F.col("status") == "embedded").select("path", "label", "features")


def statistics(rows: DataFrame) -> Statistics:
    """n, mean and scatter of the features, in one pass."""
    spark = rows.sparkSession
    tasks = min(slots(spark), PARTIALS)
    with configured(spark, spark__sql__execution__arrow__maxRecordsPerBatch=BLOCK):
        partials = _partials(rows, tasks).collect()
    parts = (Statistics.from_bytes(bytes(row.statistics)) for row in partials)
    return reduce(add, parts, Statistics.empty(0))


def _partials(rows: DataFrame, tasks: int) -> DataFrame:
    return rows.select("features").coalesce(tasks).mapInArrow(summarise, "statistics binary")


def project(rows: DataFrame, projection: Projection) -> DataFrame:
    """path, label, pcaFeatures (array<float>, k values)."""
    broadcast = rows.sparkSession.sparkContext.broadcast(projection)
    return rows.mapInArrow(Projector(broadcast), PROJECTED)
