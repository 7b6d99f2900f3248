"""The projection as stock MLlib stages, for any Spark user to load. Imported late: it takes a second."""

from __future__ import annotations

from typing import Any

from pyspark.ml import PipelineModel
from pyspark.ml.common import _py2java
from pyspark.ml.feature import PCAModel, StandardScalerModel
from pyspark.ml.linalg import DenseMatrix, Vectors
from pyspark.sql import SparkSession

from verger.locations import Location
from verger.projection import Projection


def pipeline(spark: SparkSession, projection: Projection) -> PipelineModel:
    """The projection as stock MLlib stages: `features` (vector) -> `standardised` -> `pcaFeatures`.

    The models' Scala constructors are private to MLlib in Scala, and public in the bytecode that Py4J sees.
    """
    sc = spark.sparkContext
    scala: Any = sc._jvm.org.apache.spark.ml.feature  # type: ignore[union-attr]
    rows, columns = projection.components.shape
    components = DenseMatrix(rows, columns, projection.components.ravel(order="F"))
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


def save(spark: SparkSession, projection: Projection, location: Location) -> None:
    pipeline(spark, projection).write().overwrite().save(location.uri)
