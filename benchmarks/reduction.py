"""Statistics + projection against MLlib's StandardScaler + PCA: the same rows, the same Spark session, in turns.

Rows are synthetic and seeded, shaped like the network's: float32 in [0, 6], correlated (low rank + noise), with some
columns that are zero throughout. Both read them from Parquet each time, as neither keeps anything.

The JVM decides about MLlib, which computes in it. By default (`--jvm stock`) it is as Spark starts it, the notebook's.
`--jvm verger` is the one of `verger run`, whose first compiler only (`TieredStopAtLevel=1`) suits short jobs and slows
MLlib's loops down: with it the ratio flatters Verger.

Take more rows than there are columns. With fewer the covariance is singular, and there the LAPACK written in Java
that MLlib falls back to was seen to be wrong by percents (1,000 rows: explained variance off by 0.036, and the
singular values of NumPy's very covariance add up to 1.4 times its trace). The exit code is 1 when both don't agree.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics as numbers
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.ml.feature import PCA, StandardScaler
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col
from rich.console import Console
from rich.table import Table
from verger import reduction, session
from verger.launch import Launch
from verger.projection import Projection
from verger.settings import Settings

FEATURES = 1280
SEED, RANK, ZEROS = 20, 60, 12
FILES = 4  # a Parquet file each, so that both cores have work
TOLERANCE = 1e-9  # of an explained variance: both are exact up to rounding

Shares = NDArray[np.float64]


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="verger-bench-") as folder:
        rows = Path(folder, "rows")
        write(rows, options.rows)
        spark = start(options.jvm)
        contenders: dict[str, Callable[[DataFrame, int], Shares]] = {"mllib": mllib, "verger": verger}
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        shares: dict[str, Shares] = {}
        for _ in range(options.rounds):
            for name, fit in contenders.items():
                began = time.perf_counter()
                shares[name] = fit(spark.read.parquet(str(rows)), options.components)
                seconds[name].append(time.perf_counter() - began)
        spark.stop()
    ratios = [theirs / ours for theirs, ours in zip(seconds["mllib"], seconds["verger"], strict=True)]
    difference = float(np.abs(shares["mllib"] - shares["verger"]).max())
    show(options, seconds, ratios, difference)
    if options.json:
        account = {"seconds": seconds, "ratios": ratios, "difference": difference, "jvm": options.jvm}
        options.json.write_text(json.dumps(account | {"rows": options.rows}, indent=2) + "\n")
    return 0 if difference <= TOLERANCE else 1


def write(folder: Path, rows: int) -> None:
    """path, label, features as Parquet."""
    random = np.random.default_rng(SEED)
    loadings = random.normal(size=(RANK, FEATURES)) * np.linspace(1, 0.05, RANK)[:, None]
    centre = random.uniform(0.2, 2, FEATURES)
    zeros = random.choice(FEATURES, ZEROS, replace=False)
    folder.mkdir(parents=True)
    for number, names in enumerate(np.array_split(np.arange(rows), FILES)):
        latent = random.normal(size=(len(names), RANK)) @ loadings * 0.3
        values = np.clip(centre + latent + random.normal(0, 0.3, latent.shape), 0, 6).astype(np.float32)
        values[:, zeros] = 0
        offsets = pa.array(np.arange(0, values.size + 1, FEATURES, dtype=np.int32))
        columns = {
            "path": [f"file:/rows/{name % 24}/{name}.jpg" for name in names],
            "label": [str(name % 24) for name in names],
            "features": pa.ListArray.from_arrays(offsets, pa.array(values.ravel())),
        }
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", use_dictionary=False)


def start(jvm: str) -> SparkSession:
    """A session on two cores, with Verger's own settings or the notebook's."""
    if jvm == "verger":
        return session.start(Launch(Settings.load(master="local[2]")))
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.appName("reduction").master("local[2]").config("spark.driver.memory", "2g")
    return builder.config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false").getOrCreate()


def mllib(rows: DataFrame, k: int) -> Shares:
    """As the notebook does it."""
    vectors = rows.withColumn("vectors", array_to_vector(col("features")))
    scaler = StandardScaler(inputCol="vectors", outputCol="standardised", withMean=True, withStd=True).fit(vectors)
    model = PCA(k=k, inputCol="standardised", outputCol="pcaFeatures").fit(scaler.transform(vectors))
    explained: Shares = model.explainedVariance.toArray()
    return explained


def verger(rows: DataFrame, k: int) -> Shares:
    return Projection.fit(reduction.statistics(rows), k, "benchmark").explained


def show(options: argparse.Namespace, seconds: dict[str, list[float]], ratios: list[float], difference: float) -> None:
    what = f"{options.rows:,} x {FEATURES:,}, k={options.components}, {options.jvm} JVM"
    table = Table(title=f"statistics + projection, {what}")
    for heading in ("round", "MLlib, s", "Verger, s", "ratio"):
        table.add_column(heading, justify="right")
    lines = list(zip(seconds["mllib"], seconds["verger"], ratios, strict=True))
    for number, line in enumerate(lines, start=1):
        table.add_row(str(number), *(f"{value:.2f}" for value in line))
    table.add_section()
    table.add_row("median", *(f"{numbers.median(values):.2f}" for values in zip(*lines, strict=True)))
    console = Console(width=100)
    console.print(table)
    console.print(f"largest difference of explained variance: {difference:.1e} (allowed: {TOLERANCE:.0e})")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Statistics + projection against MLlib.")
    parser.add_argument("--rows", metavar="N", default=20_000, type=int, help=f"more than {FEATURES}: see the top")
    parser.add_argument("--components", metavar="K", default=100, type=int)
    parser.add_argument("--rounds", metavar="N", default=3, type=int)
    parser.add_argument("--jvm", choices=("stock", "verger"), default="stock", help="whose JVM options")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the numbers there too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
