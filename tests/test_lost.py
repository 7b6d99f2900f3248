"""What is lost under a run is told in one line: killed for real where it can be here, else in Spark's own words."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from verger import lost

LOST = (
    "An error occurred while calling o122.save.\n: org.apache.spark.SparkException: Job aborted due to stage failure: "
    "Task 0 in stage 5.0 failed 4 times, most recent failure: Lost task 0.3 in stage 5.0 (TID 15) (10.201.1.86 "
    "executor 4): ExecutorLostFailure (executor 4 exited caused by one of the running tasks) Reason:{why}\nDriver "
    "stacktrace:\n\tat org.apache.spark.scheduler.DAGScheduler.$anonfun$abortStage$2(DAGScheduler.scala:2935)\n"
)
KILLED = (
    " \nThe executor with id 4 exited with exit code 137(SIGKILL, possible container OOM).\n\n\n\nThe API gave the "
    "following container statuses:\n\n\n\t container name: spark-kubernetes-executor\n\t container state: terminated\n"
    "\t exit code: 137\n\t termination reason: OOMKilled\n"
)

BROKEN = (
    ": org.apache.spark.SparkException: Job aborted due to stage failure: Task 1 in stage 4.0 failed 1 times, most "
    "recent failure: Lost task 1.0 in stage 4.0 (TID 10) (localhost executor driver): {error}\n"
    "\tat java.base/java.io.DataInputStream.readFully(DataInputStream.java:210)\n"
    "\tat java.base/java.io.DataInputStream.readInt(DataInputStream.java:385)\n"
    "\tat {of}\n"
)
WORKER = (
    "a Python worker died, killed perhaps for its memory; give the machine more, or on Kubernetes raise the executors' "
    "memoryOverhead (spark.executor.memoryOverhead)"
)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            BROKEN.format(
                error="java.io.EOFException", of="org.apache.spark.api.python.PythonWorkerFactory.createWorker"
            ),
            WORKER,
        ),
        (
            BROKEN.format(
                error="java.io.IOException: Broken pipe",
                of="org.apache.spark.sql.execution.python.PythonArrowInput.write",
            ),
            WORKER,
        ),
        (BROKEN.format(error="java.io.EOFException", of="org.apache.spark.storage.BlockManager.get"), None),
        (
            LOST.format(why=KILLED),
            "executor 4: out of memory, as the executors before it that had the same images; raise the executors' "
            "memoryOverhead (spark.executor.memoryOverhead)",
        ),
        (
            LOST.format(why=" Executor heartbeat timed out after 143000 ms"),
            "executor 4: lost, as those before it that had the same images: Executor heartbeat timed out after 143000 "
            "ms; see its log, or run again",
        ),
        (
            "java.lang.IllegalStateException: Cannot call methods on a stopped SparkContext.",
            "Spark stopped under the run; see its log, and run again: what was committed is kept",
        ),
        ("org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 5.0 failed", None),
    ],
)
def test_what_spark_says(message: str, line: str | None) -> None:
    assert lost.explained(RuntimeError(message)) == line


def jvm(run: psutil.Process) -> psutil.Process | None:
    return next((child for child in run.children() if child.name() == "java"), None)


def worker(run: psutil.Process) -> psutil.Process | None:
    """A worker of Spark's: the daemon's children."""
    java = jvm(run)
    daemon = next((child for child in java.children() if "daemon" in " ".join(child.cmdline())), None) if java else None
    return next(iter(daemon.children()), None) if daemon else None


@pytest.mark.spark
@pytest.mark.parametrize(
    ("victim", "line"),
    [
        (jvm, "verger: Spark's JVM ended under the run, killed perhaps for its memory; give it more, and run again"),
        (
            worker,
            "verger: a Python worker died, killed perhaps for its memory; give the machine more, or on Kubernetes",
        ),
    ],
)
def test_what_is_killed_under_a_run_is_one_line(
    victim: Callable[[psutil.Process], psutil.Process | None],
    line: str,
    orchard: Path,
    tmp_path: Path,
    weights: dict[str, object],
) -> None:
    option = ["--untrained"] if "untrained" in weights else ["--weights", str(weights["weights"])]
    verger = str(Path(sys.executable).with_name("verger"))
    places = ["--images", str(orchard), "--store", str(tmp_path / "store"), "--results", str(tmp_path / "results")]
    with subprocess.Popen([verger, "run", *places, *option], stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        next(line for line in run.stderr if "64 images, 64 new" in line)
        while run.poll() is None:  # a worker that waits is replaced, and nobody knows
            with suppress(psutil.NoSuchProcess):
                if (found := victim(psutil.Process(run.pid))) is not None:
                    found.kill()
            time.sleep(0.05)
        said = run.stderr.read()
    assert run.returncode == 1
    assert [each for each in said.splitlines() if each.startswith("verger: ")] == said.splitlines()[-1:]
    assert said.splitlines()[-1].startswith(line)
    assert "Traceback" not in said
