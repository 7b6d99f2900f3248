"""A run's JVM: asked for once, started early, and told of in one line when it does not start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from verger import launch, session
from verger.errors import VergerError
from verger.settings import Settings

from tests.conftest import command
from tests.support import eventually

pytestmark = pytest.mark.spark
OPTIONS = {"spark.driver.memory": "1g", "spark.driver.extraJavaOptions": "-Done=1 -Dtwo=2"}


def test_sparks_launcher_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch.environment(Settings.load())
    asked = launch._command(OPTIONS, tmp_path)
    assert asked[0].endswith("java")
    assert {"-Xmx1g", "-Done=1", "-Dtwo=2", "org.apache.spark.deploy.SparkSubmit"} <= set(asked)
    monkeypatch.setattr(launch, "_asked", lambda _: pytest.fail("asked again"))
    assert launch._command(OPTIONS, tmp_path) == asked


@pytest.mark.parametrize("damage", ["", "[", "\x00"])
def test_a_damaged_answer_is_asked_for_again(tmp_path: Path, damage: str) -> None:
    launch.environment(Settings.load())
    asked = launch._command(OPTIONS, tmp_path)
    next(tmp_path.glob("jvm/*.json")).write_text(damage)
    assert launch._command(OPTIONS, tmp_path) == asked


def test_sts_is_asked_in_the_runs_region_whatever_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    launch.environment(Settings.load(region="eu-west-3"))
    assert (os.environ["AWS_REGION"], os.environ["AWS_DEFAULT_REGION"]) == ("eu-west-3", "eu-west-3")


def test_a_run_of_spark_submit_starts_no_jvm_and_names_no_master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    monkeypatch.setattr(launch, "_started", lambda *_: pytest.fail("a second JVM"))
    submitted = launch.Launch(Settings.load())
    assert not submitted.local
    assert not session.configuration(submitted).contains("spark.master")


def test_other_options_are_another_question(tmp_path: Path) -> None:
    launch.environment(Settings.load())
    assert launch._command(OPTIONS, tmp_path) != launch._command(OPTIONS | {"spark.driver.memory": "2g"}, tmp_path)


def test_the_classpath_is_in_order_and_has_each_jar_once(tmp_path: Path) -> None:
    """The JVM refuses a class archive over either."""
    for name in ("b.jar", "c.jar", "a.jar", "notes.txt"):
        (tmp_path / name).touch()
    ordered = launch._in_order(["java", "-cp", f"/conf:{tmp_path}/b.jar:{tmp_path}/*", "Main"])
    assert ordered == ["java", "-cp", f"/conf:{tmp_path}/b.jar:{tmp_path}/a.jar:{tmp_path}/c.jar", "Main"]


def test_what_was_asked_is_found_in_a_folder_that_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch.environment(Settings.load())
    asked = launch._command(OPTIONS, tmp_path / "cache")
    monkeypatch.setattr(launch, "_asked", lambda _: pytest.fail("asked again"))
    assert launch._command(OPTIONS, tmp_path / "cache", tmp_path / "scratch") == asked
    assert not (tmp_path / "scratch").exists()


def test_what_runs_write_is_in_the_scratch_folder(tmp_path: Path) -> None:
    settings = Settings.load(cache=tmp_path / "cache", scratch=tmp_path / "scratch", master="spark://elsewhere")
    assert launch.Launch(settings).log.parent == tmp_path / "scratch" / "logs"
    assert Settings.load(cache=tmp_path / "cache").scratch_dir == tmp_path / "cache"


def test_a_spark_without_jars_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    with pytest.raises(VergerError, match=r"^Spark did not start: "):
        launch._command(OPTIONS, tmp_path)


def test_a_jvm_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    places = [word for name in ("images", "store", "results") for word in (f"--{name}", tmp_path / name)]
    outcome = command("run", *places, "--driver-memory", "1m", "--untrained")
    assert outcome.returncode == 1
    [line] = [line for line in outcome.stderr.splitlines() if line.startswith("verger: ")]
    assert line.startswith("verger: Spark did not start: its JVM ended with 1; see ")


def test_rdds_and_dataframes_have_the_same_workers(spark: SparkSession) -> None:
    """Else the workers that were warmed while Spark started are not those that embed."""

    def pids(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            pass
        yield pa.RecordBatch.from_pydict({"pid": [os.getpid()]})

    context = spark.sparkContext
    warmed = set(context.parallelize(range(2), 2).map(lambda _: os.getpid()).collect())
    asked = {row.pid for row in spark.range(2).repartition(2).mapInArrow(pids, "pid bigint").collect()}
    assert asked <= warmed


def test_a_stop_does_not_wait_for_the_server_of_accumulators(spark: SparkSession) -> None:
    context: Any = spark.sparkContext
    server = context._accumulatorServer
    held, shutdown = Event(), server.shutdown
    server.shutdown = lambda: (held.wait(), shutdown())
    stopping = Thread(target=session.stop, args=[spark], daemon=True)
    stopping.start()
    stopping.join(30)
    held.set()
    assert not stopping.is_alive()
    eventually(lambda: server.socket.fileno() == -1)  # closed, soon after
    session.stop(spark)  # once more changes nothing


def test_workers_import_nothing_of_the_settings() -> None:
    look = "import sys, verger.daemon; print([name for name in sys.modules if name.startswith('pydantic')])"
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout == "[]\n"
