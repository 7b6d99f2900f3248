"""The SparkSession: local runs bind to loopback, start fast and keep Spark's noise in a log file."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
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
    "spark.databricks.delta.writeChecksumFile.enabled": "false",
    "spark.sql.adaptive.enabled": "false",
}
# A local run is over before the optimising compiler pays, and its heap is small.
LOCAL_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xss4m")
LOCAL_HEAP = ("-Xmn256m",)  # grown from nothing, it is collected twenty times before the first image


class Launch:
    """A JVM that starts in the background from the moment this is made, and then Spark in it.

    Usage: Launch(settings).session()
    """

    def __init__(self, settings: Settings, rehearsal: bool = False) -> None:
        """A rehearsal's JVM writes the class archive when it ends (see `end`)."""
        self.name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        self.log = settings.cache_dir / "logs" / f"{self.name}.log"  # what Spark and its workers print
        self.rehearsal = rehearsal
        self._settings = settings
        self._conf: SparkConf | None = None
        self._gateway: Any = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._launch, name="verger-jvm", daemon=True)
        self._thread.start()

    def session(self) -> SparkSession:
        """The session, once it is there; a VergerError says where to look when it does not start."""
        self._thread.join()
        try:
            if self._error is not None:
                raise self._error
            return SparkSession(SparkContext(gateway=self._gateway, conf=self._conf))
        except VergerError:
            raise
        except Exception as error:  # py4j and PySpark raise a dozen types here; all mean that Spark did not start
            last = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
            raise VergerError(f"Spark did not start: {last.strip()}; see {self.log}") from error

    def _launch(self) -> None:
        try:
            self._conf = configuration(self._settings, self.name, self.rehearsal)
            _environment(self._settings)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as sink:
                output = {"stdout": sink, "stderr": sink}
                self._gateway = SparkContext._gateway or launch_gateway(self._conf, output)  # type: ignore[no-untyped-call]
        except Exception as error:  # told by `session`, in the thread that waits for it
            self._error = error


def _environment(settings: Settings) -> None:
    """What Spark's scripts and workers look for in the environment."""
    os.environ["PYSPARK_PYTHON"] = sys.executable  # workers run this very environment
    if (home := java.home(settings.cache_dir)) is not None:
        os.environ["JAVA_HOME"] = str(home)
    spark_home = _find_spark_home()  # type: ignore[no-untyped-call]
    os.environ.setdefault("SPARK_HOME", spark_home)  # else Spark's scripts start a Python to find it
    os.environ.setdefault("SPARK_LAUNCHER_OPTS", " ".join(LOCAL_JVM))  # of the small JVM that starts the real one
    logging.getLogger("py4j").setLevel(logging.ERROR)


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
        options += [*LOCAL_JVM, *LOCAL_HEAP, f"-XX:{archive}={class_archive(settings.cache_dir)}", "-Xlog:disable"]
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
