"""The two passes over the features that Spark makes: statistics, then projection; and the MLlib form of the latter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast
from pyspark.ml import PipelineModel
from pyspark.ml.common import _py2java
from pyspark.ml.feature import PCAModel, StandardScalerModel
from pyspark.ml.linalg import DenseMatrix, Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from verger.features import lists
from verger.locations import Location
from verger.projection import Projection
from verger.session import configured, slots
from verger.settings import FEATURES
from verger.statistics import Statistics

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
        partials = rows.select("features").coalesce(tasks).mapInArrow(_summarise, "statistics binary").collect()
    parts = (Statistics.from_bytes(bytes(row.statistics)) for row in partials)
    return reduce(add, parts, Statistics.empty(FEATURES))


def _summarise(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    parts = (Statistics.of(_matrix(batch.column("features"))) for batch in batches)
    whole = reduce(add, parts, Statistics.empty(FEATURES))
    yield pa.RecordBatch.from_arrays([pa.array([whole.to_bytes()], pa.binary())], names=["statistics"])


def project(rows: DataFrame, projection: Projection) -> DataFrame:
    """path, label, pcaFeatures (array<float>, k values)."""
    broadcast = rows.sparkSession.sparkContext.broadcast(projection)
    return rows.mapInArrow(_Projector(broadcast), PROJECTED)


@dataclass(frozen=True)
class _Projector:
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


def mllib(spark: SparkSession, projection: Projection) -> PipelineModel:
    """The projection as stock MLlib stages: `features` (vector) -> `standardised` -> `pcaFeatures`.

    The models' Scala constructors are private to MLlib in Scala, and public in the bytecode that Py4J sees.
    """
    sc = spark.sparkContext
    scala: Any = sc._jvm.org.apache.spark.ml.feature  # type: ignore[union-attr]
    rows, columns = projection.components.shape
    components = DenseMatrix(rows, columns, projection.components.ravel(order="F"))  # type: ignore[call-arg]
    std, mean, explained = (Vectors.dense(v) for v in (projection.std, projection.mean, projection.explained))
    scaler = scala.StandardScalerModel("verger_scaler", _py2java(sc, std), _py2java(sc, mean))
    pca = scala.PCAModel("verger_pca", _py2java(sc, components), _py2java(sc, explained))
    for model, source, sink in ((scaler, "features", "standardised"), (pca, "standardised", "pcaFeatures")):
        model.set(model.inputCol(), source)
        model.set(model.outputCol(), sink)
    scaler.set(scaler.withMean(), True)
    scaler.set(scaler.withStd(), True)
    pca.set(pca.k(), projection.k)
    stages = [StandardScalerModel(scaler), PCAModel(pca)]
    for stage in stages:
        stage._transfer_params_from_java()
    return PipelineModel(stages)  # type: ignore[arg-type]


def save_mllib(spark: SparkSession, projection: Projection, location: Location) -> None:
    mllib(spark, projection).write().overwrite().save(location.uri)
