"""The projection as stock MLlib stages, for any Spark user to load.

Built in the JVM: `pyspark.ml` takes a second to import, and would be used for nothing else. The models' constructors
are private to MLlib in Scala, and public in the bytecode that Py4J sees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from verger.locations import Location
from verger.projection import Projection
from verger.statistics import Floats


def save(spark: SparkSession, projection: Projection, location: Location) -> None:
    """Write a `PipelineModel`: `features` (vector) -> `standardised` -> `pcaFeatures`."""
    gateway: Any = spark.sparkContext._gateway
    ml = gateway.jvm.org.apache.spark.ml
    scaler = ml.feature.StandardScalerModel(
        "verger_scaler", _vector(gateway, projection.std), _vector(gateway, projection.mean)
    )
    rows, columns = projection.components.shape
    components = ml.linalg.DenseMatrix(rows, columns, _doubles(gateway, projection.components.ravel(order="F")))
    pca = ml.feature.PCAModel("verger_pca", components, _vector(gateway, projection.explained))
    for model, source, sink in ((scaler, "features", "standardised"), (pca, "standardised", "pcaFeatures")):
        model.set(model.inputCol(), source)
        model.set(model.outputCol(), sink)
    scaler.set(scaler.withMean(), True)
    scaler.set(scaler.withStd(), True)
    pca.set(pca.k(), projection.k)
    stages = gateway.new_array(ml.Transformer, 2)
    stages[0], stages[1] = scaler, pca
    ml.PipelineModel("verger", stages).write().overwrite().save(location.uri)


def _vector(gateway: Any, values: Floats) -> Any:
    return gateway.jvm.org.apache.spark.ml.linalg.DenseVector(_doubles(gateway, values))


def _doubles(gateway: Any, values: Floats) -> Any:
    """A Java double[], sent as one block of bytes: Py4J takes a tenth of a millisecond for each single value."""
    array = gateway.new_array(gateway.jvm.double, values.size)
    gateway.jvm.java.nio.ByteBuffer.wrap(values.astype(np.dtype(">f8")).tobytes()).asDoubleBuffer().get(array)
    return array
