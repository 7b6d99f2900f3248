"""Statistics and projection on Spark, against MLlib: the oracle that every Spark user has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml import PipelineModel
from pyspark.ml.feature import PCA, StandardScaler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from verger import mllib, reduction
from verger.locations import Location
from verger.projection import Projection
from verger.statistics import Statistics

pytestmark = pytest.mark.spark

Matrix = np.ndarray[Any, Any]


def frame(spark: SparkSession, rows: Matrix, partitions: int = 3) -> DataFrame:
    data = [(str(number), "x", row.tolist()) for number, row in enumerate(rows)]
    schema = "path string, label string, features array<double>"
    return spark.createDataFrame(data, schema).repartition(partitions)


def matrices() -> dict[str, Matrix]:
    random = np.random.default_rng(7)
    mixed = random.normal(size=(40, 6)) @ random.normal(size=(6, 6))
    constant = mixed.copy()
    constant[:, [1, 4]] = 3.25, 0.0
    return {
        "plain": mixed,
        "zero-variance columns": constant,
        "k above the rank": np.outer(random.normal(size=30), random.normal(size=6)),
        "fewer rows than columns": random.normal(size=(4, 6)),
        "large means, small variances": 1e6 + 1e-3 * mixed,
        "two rows": random.normal(size=(2, 6)),
    }


@pytest.mark.parametrize("name", matrices())
def test_statistics_and_projection_are_mllibs(spark: SparkSession, name: str) -> None:
    rows, k = matrices()[name], 4
    data = frame(spark, rows)
    vectors = data.withColumn("v", array_to_vector(F.col("features")))
    scaler = StandardScaler(inputCol="v", outputCol="s", withMean=True, withStd=True).fit(vectors)
    pca = PCA(k=k, inputCol="s", outputCol="p").fit(scaler.transform(vectors))

    statistics = reduction.statistics(data)
    projection = Projection.fit(statistics, k, "test")

    assert statistics.n == len(rows)
    np.testing.assert_allclose(projection.mean, scaler.mean.toArray(), rtol=1e-12)
    np.testing.assert_allclose(projection.std, scaler.std.toArray(), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(projection.explained, pca.explainedVariance.toArray(), atol=1e-6)
    shown = pca.explainedVariance.toArray() > 1e-6  # the others span a space of no variance, in any basis
    assert shown.any()
    theirs = np.abs(pca.pc.toArray())[:, shown]
    np.testing.assert_allclose(np.abs(projection.components)[:, shown], theirs, atol=1e-5)


@pytest.mark.parametrize("partitions", [1, 2, 9])
def test_statistics_do_not_depend_on_partitions(spark: SparkSession, partitions: int) -> None:
    rows = matrices()["plain"]
    found, whole = reduction.statistics(frame(spark, rows, partitions)), Statistics.of(rows)
    assert found.n == whole.n
    np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(found.scatter, whole.scatter, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["plain", "zero-variance columns", "k above the rank"])
def test_stock_mllib_loads_what_is_saved_and_projects_the_same(spark: SparkSession, tmp_path: Path, name: str) -> None:
    rows = matrices()[name]
    data = frame(spark, rows)
    projection = Projection.fit(Statistics.of(rows), 3, "test")
    mllib.save(spark, projection, Location.parse(str(tmp_path / "pipeline")))

    stock = PipelineModel.load(str(tmp_path / "pipeline"))

    vectors = data.withColumn("features", array_to_vector(F.col("features")))
    theirs = {
        row.path: row.out
        for row in stock.transform(vectors).select("path", vector_to_array(F.col("pcaFeatures")).alias("out")).collect()
    }
    ours = {row.path: row.pcaFeatures for row in reduction.project(data, projection).collect()}
    assert ours.keys() == theirs.keys()
    for path, vector in ours.items():
        np.testing.assert_allclose(vector, theirs[path], atol=1e-5)
    stages: list[Any] = stock.stages
    scaler, pca = stages
    assert (scaler.getWithMean(), scaler.getWithStd(), pca.getK()) == (True, True, 3)
    np.testing.assert_allclose(pca.explainedVariance.toArray(), projection.explained)
