"""The SparkSession: local runs bind to loopback, start fast and keep Spark's noise in a log file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseServer
from typing import Any

import pandas  # noqa: F401 - PySpark imports it before its first call: here, the JVM starts meanwhile
from pyspark import SparkConf, SparkContext, accumulators
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from verger import launch as launching
from verger.errors import VergerError
from verger.executors import refusal
from verger.launch import Jvm, Launch
from verger.s3a import s3a
from verger.settings import Settings

DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.databricks.delta.stats.collect": "false",  # minima of 1,280 floats help no query
    "spark.databricks.delta.stats.skipping": "false",  # and so there is nothing to skip by
    "spark.databricks.delta.snapshotPartitions": "8",  # a table of one file a task and commit: the default's 50 wait
}
COMMON = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.hadoop.parquet.enable.dictionary": "false",  # features hardly repeat
    "spark.ui.showConsoleProgress": "false",
    "spark.python.daemon.module": "verger.daemon",
    # Workers are kept by what they find in their environment: so, RDDs and DataFrames have the same ones.
    "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "false",
}
# Files of Spark's own format appear when a job commits, by completed uploads: nothing is renamed (Hadoop, "S3A
# Committers"; Spark, "Integration with cloud infrastructures").
S3 = {
    "spark.hadoop.fs.s3a.committer.name": "magic",
    "spark.sql.sources.commitProtocolClass": "org.apache.spark.internal.io.cloud.PathOutputCommitProtocol",
    "spark.sql.parquet.output.committer.class": "org.apache.spark.internal.io.cloud.BindingParquetOutputCommitter",
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "1",  # folders are listed side by side
    "spark.hadoop.fs.s3a.connection.maximum": "200",
}
LOCAL = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.databricks.delta.writeChecksumFile.enabled": "false",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "8",  # each of the default's 200 costs 20 ms here
}
CLUSTER = {
    # At its own limit of failures Spark exits the JVM, and with it the run: module `executors` judges, and says why.
    "spark.executor.maxNumFailures": str((1 << 31) - 1),
}


def start(launch: Launch) -> SparkSession:
    """Spark; a VergerError says where to look when it does not start."""
    return SparkSession(context(launch))


def context(launch: Launch) -> SparkContext:
    """The SparkContext, which is there a second before the session, and can start workers already."""
    logging.getLogger("py4j").setLevel(logging.ERROR)
    logging.getLogger().addFilter(_not_of_py4j)
    for kind in vars(accumulators).values():
        if isinstance(kind, type) and issubclass(kind, BaseServer):  # a JVM that is gone is told by the run, once
            kind.handle_error = lambda *_: None  # type: ignore[method-assign]
    try:
        return SparkContext(gateway=_gateway(launch), conf=configuration(launch))
    except VergerError:
        raise
    except Exception as error:  # py4j and PySpark raise a dozen types here; all mean that Spark did not start
        lines = [line.strip() for line in str(error).splitlines()]
        said = [line for line in lines if line and not line.startswith(("at ", "... "))]  # the last is the root cause
        last = said[-1] if said else type(error).__name__
        told = refusal(str(error)) or f"{last}; see {launch.log}"
        raise VergerError(f"Spark did not start: {told}") from error


def _not_of_py4j(record: logging.LogRecord) -> bool:
    """Py4J tells the root logger, with a traceback, of a JVM that is gone."""
    return "py4j" not in record.pathname


def _gateway(launch: Launch) -> Any:
    """The way into the JVM: the one that was launched, or for a cluster the one that PySpark finds or starts."""
    if not launch.local:
        launching.environment(launch.settings)
        launch.log.parent.mkdir(parents=True, exist_ok=True)
        with launch.log.open("ab") as log:
            return launch_gateway(configuration(launch), {"stdout": log, "stderr": log})  # type: ignore[no-untyped-call]
    return SparkContext._gateway or _connected(launch.jvm())


def _connected(jvm: Jvm) -> Any:
    """PySpark's gateway to a JVM that runs already: as under `spark-submit`, the environment says where."""
    where = {"PYSPARK_GATEWAY_PORT": str(jvm.port), "PYSPARK_GATEWAY_SECRET": jvm.secret}
    os.environ.update(where)
    try:
        gateway = launch_gateway()  # type: ignore[no-untyped-call]
    finally:
        for name in where:
            del os.environ[name]
    gateway.proc = jvm.process
    return gateway


def configuration(launch: Launch) -> SparkConf:
    """Spark's settings for a run."""
    options = launch.options
    values = {
        "spark.app.name": f"verger {launch.name}",
        **({} if launch.submitted else {"spark.master": launch.settings.master}),
        # Without this one, Spark makes one where it stands.
        "spark.sql.warehouse.dir": str(launch.settings.scratch_dir / "warehouse"),
        "spark.executor.extraClassPath": options["spark.driver.extraClassPath"],
        **options,
        **DELTA,
        **COMMON,
        **(LOCAL if launch.local else CLUSTER),
        **_event_log(launch.settings),
        **(S3 | s3a(launch.settings, launch.credentials) if launch.settings.s3 else {}),
    }
    return SparkConf(loadDefaults=False).setAll(list(values.items()))


def _event_log(settings: Settings) -> dict[str, str]:
    log = settings.places.get("event_log")
    return {"spark.eventLog.enabled": "true", "spark.eventLog.dir": log.uri} if log else {}


def end(spark: SparkSession) -> None:
    """Stop Spark and its JVM, and wait until both are gone."""
    process = spark.sparkContext._gateway.proc  # type: ignore[union-attr]
    spark.stop()
    process.stdin.close()
    process.wait()


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
