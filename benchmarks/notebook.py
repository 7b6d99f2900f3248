"""The start-up's notebook, as a script: what Verger replaces, and is measured against.

Faithful to the notebook (and to the public family it comes from):
- `binaryFile` with `*.jpg`, the label from the parent folder, `repartition(20)`, the local notebooks' number;
- MobileNetV2's weights broadcast, and yet the network built *and its weights file read* in every task: `model_fn`
  says `weights=...` and then lets `set_weights` overwrite them;
- an iterator pandas UDF that calls `model.predict` on each Arrow batch (1,024 records at most), TensorFlow's threads
  as they come; Pillow's resize, `img_to_array`, `preprocess_input`;
- `array_to_vector`, `StandardScaler(withMean, withStd)`, `PCA(k)`, `show`, Parquet (overwrite), `toPandas`, and
  `results.csv` with path, label, pcaFeatures;
- nothing is cached: the scaler's fit, PCA's fit, show, Parquet and toPandas each read the images and run the network
  again. With show's single partition that is five times over all images, as MLlib's PCA makes two passes itself.

Adapted, so that it runs on today's versions without the network, and gives the same features everywhere:
- the weights come from --weights, not from a download; the file is the one without a classifier, so the network is
  `include_top=False, pooling="avg"`: the numbers of `model.layers[-2].output` of the whole one, built a bit faster;
- Pillow's bicubic filter is named, because the notebook relies on its being the default;
- local[2] (the notebook's own `local` would use one core) and everything on 127.0.0.1;
- `verbose=0`, no plots, no `model.summary()`.
"""

from __future__ import annotations

import time

BEGAN = time.perf_counter()

import argparse  # noqa: E402
import io  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
os.environ["PYSPARK_PYTHON"] = sys.executable

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from PIL import Image  # noqa: E402
from pyspark import Broadcast  # noqa: E402
from pyspark.ml.feature import PCA, StandardScaler  # noqa: E402
from pyspark.ml.functions import array_to_vector  # noqa: E402
from pyspark.sql import DataFrame, SparkSession  # noqa: E402
from pyspark.sql.functions import col, element_at, split  # noqa: E402
from pyspark.sql.pandas.functions import pandas_udf  # noqa: E402
from tensorflow.keras.applications.mobilenet_v2 import MobileNetV2, preprocess_input  # noqa: E402
from tensorflow.keras.preprocessing.image import img_to_array  # noqa: E402

PARTITIONS = 20


def main() -> int:
    options = _options()
    spark = (
        SparkSession.builder.appName("notebook")
        .master("local[2]")
        .config("spark.sql.parquet.writeLegacyFormat", "true")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "1024")
        .config("spark.ui.showConsoleProgress", "false")
        .getOrCreate()
    )
    images = (
        spark.read.format("binaryFile")
        .option("pathGlobFilter", "*.jpg")
        .option("recursiveFileLookup", "true")
        .load(str(options.images))
    )
    images = images.withColumn("label", element_at(split(images["path"], "/"), -2))
    explained = reduce(featurize(spark, images, str(options.weights)), options.components, options.results)
    spark.stop()
    print(f"explained variance: {explained:.12f}")
    print(f"total: {time.perf_counter() - BEGAN:.1f} s")
    return 0


def featurize(spark: SparkSession, images: DataFrame, weights: str) -> DataFrame:
    """path, label, features (array<float>)."""
    broadcast = spark.sparkContext.broadcast(build(weights).get_weights())
    featurize_udf = featurizer(weights, broadcast)
    return images.repartition(PARTITIONS).select(
        col("path"), col("label"), featurize_udf(col("content")).alias("features")
    )


def build(weights: str) -> Any:
    return MobileNetV2(weights=weights, include_top=False, pooling="avg", input_shape=(224, 224, 3))


def featurizer(weights: str, broadcast: Broadcast[Any]) -> Callable[..., Any]:
    """The notebook's pandas UDF and the functions below it."""

    def model_fn() -> Any:
        model = build(weights)
        for layer in model.layers:
            layer.trainable = False
        model.set_weights(broadcast.value)
        return model

    def preprocess(content: bytes) -> Any:
        image = Image.open(io.BytesIO(content)).resize((224, 224), resample=Image.Resampling.BICUBIC)
        return preprocess_input(img_to_array(image))

    def featurize_series(model: Any, content_series: pd.Series[Any]) -> pd.Series[Any]:
        batch = np.stack(list(content_series.map(preprocess)))
        return pd.Series([features.flatten() for features in model.predict(batch, verbose=0)])

    def featurize_udf(content_series_iter: Iterator[pd.Series]) -> Iterator[pd.Series]:
        model = model_fn()
        for content_series in content_series_iter:
            yield featurize_series(model, content_series)

    udf: Callable[..., Any] = pandas_udf("array<float>")(featurize_udf)  # type: ignore[call-overload]
    return udf


def reduce(features: DataFrame, k: int, results: Path) -> float:
    """Standardise, reduce and write; returns the explained variance of all k components."""
    vectors = features.withColumn("vectors", array_to_vector(col("features")))
    scaler = StandardScaler(inputCol="vectors", outputCol="standardised", withMean=True, withStd=True).fit(vectors)
    standardised = scaler.transform(vectors)
    pca = PCA(k=k, inputCol="standardised", outputCol="pcaFeatures").fit(standardised)
    reduced = pca.transform(standardised).select("path", "label", "pcaFeatures")
    reduced.show()
    reduced.write.mode("overwrite").parquet(str(results / "pca.parquet"))
    reduced.toPandas().to_csv(results / "results.csv", index=False)
    return float(pca.explainedVariance.toArray().sum())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The start-up's notebook pipeline.")
    parser.add_argument("--images", metavar="DIR", required=True, type=lambda text: Path(text).absolute())
    parser.add_argument("--results", metavar="DIR", required=True, type=lambda text: Path(text).absolute())
    parser.add_argument("--weights", metavar="FILE", required=True, type=lambda text: Path(text).absolute())
    parser.add_argument("--components", metavar="K", default=100, type=int)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
