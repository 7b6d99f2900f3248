"""The SparkSession: local runs bind to loopback, start fast and keep Spark's noise in a log file."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from socketserver import BaseServer
from typing import Any

import pandas  # noqa: F401 - PySpark imports it before its first call: here, the JVM starts meanwhile
from pyspark import SparkConf, SparkContext, accumulators
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from verger import launch as launching
from verger import s3a
from verger.errors import SettingsError, VergerError
from verger.executors import refusal
from verger.launch import Jvm, Launch
from verger.settings import Settings

EXTENSIONS, CATALOG = "spark.sql.extensions", "spark.sql.catalog.spark_catalog"
DELTA = {
    EXTENSIONS: "io.delta.sql.DeltaSparkSessionExtension",
    CATALOG: "org.apache.spark.sql.delta.catalog.DeltaCatalog",
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
S3 = {
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "1",  # folders are listed side by side
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
        gateway = _gateway(launch)
        given = _given(gateway.jvm) if launch.settings.s3a == "emr" else {}
        return SparkContext(gateway=gateway, conf=configuration(launch, given))
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


def _given(jvm: Any) -> dict[str, str]:
    """What Spark would run by without Verger: the JVM's own SparkConf, and before it Hadoop's core-site."""
    core_site = jvm.org.apache.hadoop.conf.Configuration(False)
    core_site.addResource("core-site.xml")
    entries = {f"spark.hadoop.{key}": value for key, value in core_site.getValByRegex(".").items()}
    entries |= {pair._1(): pair._2() for pair in jvm.org.apache.spark.SparkConf().getAll()}
    return {key: value for key, value in entries.items() if value}


def configuration(launch: Launch, given: Mapping[str, str] | None = None) -> SparkConf:
    """Spark's settings for a run; on EMR, beside what EMR has `given` to Spark."""
    options, settings = launch.options, launch.settings
    classpath = options.get("spark.driver.extraClassPath")
    values = {
        "spark.app.name": f"verger {launch.name}",
        **({} if launch.submitted else {"spark.master": settings.master}),
        # Without this one, Spark makes one where it stands.
        "spark.sql.warehouse.dir": str(settings.scratch_dir / "warehouse"),
        **({"spark.executor.extraClassPath": classpath} if classpath else {}),
        **options,
        **_delta(given or {}),
        **COMMON,
        **(LOCAL if launch.local else CLUSTER),
        **_event_log(settings),
        **(S3 | _s3a(launch, given or {}) if settings.s3 else {}),
    }
    return SparkConf(loadDefaults=False).setAll(list(values.items()))


def _s3a(launch: Launch, given: Mapping[str, str]) -> dict[str, str]:
    if launch.settings.s3a == "emr":
        return s3a.beside_emr(launch.settings, given)
    return s3a.own(launch.settings, launch.credentials)


def _delta(given: Mapping[str, str]) -> dict[str, str]:
    """Delta, beside extensions that were given; a SettingsError for a catalog that is not Delta's."""
    if (catalog := given.get(CATALOG, DELTA[CATALOG])) != DELTA[CATALOG]:
        raise SettingsError(
            f"{CATALOG}={catalog}: set for this job, but the store is a Delta table; leave it out of the job's "
            "spark-defaults, or give it another catalog's name"
        )
    extensions = dict.fromkeys([*given.get(EXTENSIONS, "").split(","), DELTA[EXTENSIONS]])
    kept = {key: given[key] for key in DELTA if key in given}
    return DELTA | kept | {EXTENSIONS: ",".join(name.strip() for name in extensions if name.strip())}


def _event_log(settings: Settings) -> dict[str, str]:
    log = settings.places.get("event_log")
    return {"spark.eventLog.enabled": "true", "spark.eventLog.dir": log.uri} if log else {}


def stop(spark: SparkSession) -> None:
    """Stop Spark. PySpark would wait for its server of accumulators as well, which looks up once a second."""
    context: Any = spark.sparkContext
    server, context._accumulatorServer = context._accumulatorServer, None
    spark.stop()
    if server is not None:  # else it was stopped before
        threading.Thread(target=server.shutdown, name="verger-accumulators", daemon=True).start()


def end(spark: SparkSession) -> None:
    """Stop Spark and its JVM, and wait until both are gone."""
    process = spark.sparkContext._gateway.proc  # type: ignore[union-attr]
    stop(spark)
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
