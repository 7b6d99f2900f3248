"""The SparkSession: local runs bind to loopback, start fast and keep Spark's noise in a log file."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyspark
from pyspark import SparkConf, SparkContext
from pyspark.find_spark_home import _find_spark_home
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from verger import jars, java
from verger.errors import VergerError
from verger.settings import Settings

LOG4J = Path(__file__).with_name("log4j2.properties")

DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.databricks.delta.stats.collect": "false",  # minima of 1,280 floats help no query
}
COMMON = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.hadoop.parquet.enable.dictionary": "false",  # features hardly repeat
    "spark.ui.showConsoleProgress": "false",
}
LOCAL = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.adaptive.enabled": "false",
}
# A local run is over before the optimising compiler pays, and its heap is small.
LOCAL_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xss4m")


def start(settings: Settings, run: str, log: Path, rehearsal: bool = False) -> SparkSession:
    """Start the JVM and Spark; what they print goes to `log`. A VergerError says where to look when they don't start.

    A rehearsal's JVM writes the class archive when it ends (see `end`).
    """
    os.environ["PYSPARK_PYTHON"] = sys.executable  # workers run this very environment
    if (home := java.home(settings.cache_dir)) is not None:
        os.environ["JAVA_HOME"] = str(home)
    os.environ.setdefault("SPARK_HOME", _find_spark_home())  # type: ignore[no-untyped-call]  # else Spark's scripts start a Python to find it
    os.environ.setdefault("SPARK_LAUNCHER_OPTS", " ".join(LOCAL_JVM))  # of the small JVM that starts the real one
    logging.getLogger("py4j").setLevel(logging.ERROR)
    conf = configuration(settings, run, rehearsal)
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("ab") as sink:
            output = {"stdout": sink, "stderr": sink}
            gateway: Any = SparkContext._gateway or launch_gateway(conf, output)  # type: ignore[no-untyped-call]
        return SparkSession(SparkContext(gateway=gateway, conf=conf))
    except Exception as error:  # py4j and PySpark raise a dozen types here; all mean that Spark did not start
        last = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise VergerError(f"Spark did not start: {last.strip()}; see {log}") from error


def configuration(settings: Settings, run: str, rehearsal: bool = False) -> SparkConf:
    """Spark's settings for a run."""
    classpath = os.pathsep.join(str(jar) for jar in jars.ensure(pyspark.__version__, settings.cache_dir))
    options = [f"-Dlog4j2.configurationFile={LOG4J.as_uri()}"]
    values = {
        "spark.app.name": f"verger {run}",
        "spark.master": settings.master,
        "spark.driver.extraClassPath": classpath,
        "spark.executor.extraClassPath": classpath,
        **DELTA,
        **COMMON,
    }
    if settings.master.startswith("local"):
        archive = "ArchiveClassesAtExit" if rehearsal else "SharedArchiveFile"
        values |= LOCAL | {"spark.driver.memory": settings.driver_memory}
        options += [*LOCAL_JVM, f"-XX:{archive}={class_archive(settings.cache_dir)}", "-Xlog:disable"]
    values["spark.driver.extraJavaOptions"] = " ".join(options)
    return SparkConf(loadDefaults=False).setAll(list(values.items()))


def end(spark: SparkSession) -> None:
    """Stop Spark and its JVM, and wait until both are gone."""
    process = spark.sparkContext._gateway.proc  # type: ignore[union-attr]
    spark.stop()
    process.stdin.close()
    process.wait()


def class_archive(cache: Path) -> Path:
    """The JVM's archive of loaded classes (CDS), which halves Spark's start; `verger prepare` makes it.

    The JVM ignores one that is missing or was made by another Java or classpath.
    """
    key = f"{pyspark.__version__} {LOCAL_JVM} {[jar.sha256 for jar in jars.locked(pyspark.__version__)]}"
    return cache / "jvm" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.jsa"


def slots(spark: SparkSession) -> int:
    """How many tasks run at a time."""
    return spark.sparkContext.defaultParallelism


@contextmanager
def configured(spark: SparkSession, **values: int) -> Iterator[None]:
    """SQL settings for the statements inside; keys have __ for dots: `spark__sql__files__maxPartitionBytes=1`."""
    keys = {name.replace("__", "."): str(value) for name, value in values.items()}
    before = {key: spark.conf.get(key, None) for key in keys}
    for key, value in keys.items():
        spark.conf.set(key, value)
    try:
        yield
    finally:
        for key, old in before.items():
            if old is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, old)
