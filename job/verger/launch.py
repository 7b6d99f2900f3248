"""A run's JVM, on its way before PySpark is imported.

A local run lasts seconds. Two of them would go by while PySpark is imported and Spark's scripts start a JVM that only
says how to start the real one. So its answer is kept in the cache, the JVM starts from it, and PySpark finds it as it
finds the JVM of `spark-submit`: by the port and the secret that the JVM writes to a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from runpy import run_path
from typing import BinaryIO

from verger import housekeeping, jars, java
from verger.errors import VergerError
from verger.settings import Settings

LOG4J = Path(__file__).with_name("log4j2.properties")
# A local run is over before the optimising compiler pays, and its heap is small.
JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xss4m")
HEAP = ("-Xmn256m",)  # grown from nothing, it is collected twenty times before the first image


@dataclass(frozen=True)
class Jvm:
    """A JVM that waits for PySpark. It ends with this process: it reads what this process holds open."""

    process: subprocess.Popen[bytes]
    port: int
    secret: str


class Launch:
    """A run's name and log, and for a local run its JVM, which starts in the background from here on.

    Usage: session.start(Launch(settings))
    """

    def __init__(self, settings: Settings, rehearsal: bool = False) -> None:
        """A rehearsal's JVM writes the class archive when it ends (see `session.end`)."""
        self.settings = settings
        self.name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        self.rehearsal = rehearsal
        self.credentials = ""  # the class of S3A's credentials, once the run knows who it is
        self.submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # by spark-submit, whose JVM runs and knows the master
        # What Spark and its workers print. The JVM of spark-submit began before this run had a name.
        self.log = settings.scratch_dir / "logs" / ("spark.log" if self.submitted else f"{self.name}.log")
        self.local = settings.master.startswith("local") and not self.submitted
        self._jvm: Jvm | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._launch, name="verger-jvm", daemon=True)
        if self.local and not _running():
            self._thread.start()

    def jvm(self) -> Jvm:
        """The JVM of a local run, once it listens."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._jvm is not None
        return self._jvm

    @cached_property
    def archive(self) -> Path:
        """The class archive of a local run's JVM."""
        return class_archive(self.settings.cache_dir)

    @cached_property
    def options(self) -> dict[str, str]:
        """The settings that a JVM must have from its start."""
        cache = self.settings.cache_dir
        flags = [f"-Dlog4j2.configurationFile={LOG4J.as_uri()}"]
        values = {}
        if self.settings.s3a == "own":  # EMR has jars and class paths of its own
            classpath = os.pathsep.join(str(jar) for jar in jars.ensure(spark_version(), cache, s3=self.settings.s3))
            values["spark.driver.extraClassPath"] = classpath
        if self.local:
            archive = "ArchiveClassesAtExit" if self.rehearsal else "SharedArchiveFile"
            flags += [*JVM, *HEAP, f"-XX:{archive}={self.archive}", "-Xlog:disable"]
            values["spark.driver.memory"] = self.settings.driver_memory
        return values | {"spark.driver.extraJavaOptions": " ".join(flags)}

    def command(self) -> list[str]:
        """The command line of a local run's JVM."""
        environment(self.settings)
        return _command(self.options, self.settings.cache_dir, self.settings.scratch_dir)

    def _launch(self) -> None:
        try:
            command = self.command()
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                self._jvm = _started(command, log)
            housekeeping.used(self.archive)
            housekeeping.tidy(self.settings.cache_dir, self.settings.scratch_dir)
        except Exception as error:  # told by `jvm`, in the thread that waits for it
            self._error = error


def _running() -> bool:
    """Whether this process has a JVM of an earlier run, which PySpark goes on with."""
    pyspark = sys.modules.get("pyspark")
    return getattr(getattr(pyspark, "SparkContext", None), "_gateway", None) is not None


def environment(settings: Settings) -> None:
    """What Spark and its workers look for in the environment."""
    os.environ["PYSPARK_PYTHON"] = sys.executable  # workers run this very environment
    os.environ["SPARK_HOME"] = str(spark_home())
    if settings.region is not None:
        # Where AWS's SDKs, the JVM's and boto3's, look for STS: not in another region that the environment may name.
        os.environ.update(AWS_REGION=settings.region, AWS_DEFAULT_REGION=settings.region)
    if (home := java.home(settings.cache_dir)) is not None:
        os.environ["JAVA_HOME"] = str(home)


def spark_home() -> Path:
    """The Spark that PySpark brings, or the one that SPARK_HOME names."""
    return Path(os.environ.get("SPARK_HOME") or _pyspark())


def spark_version() -> str:
    """PySpark's version; PySpark is not imported for it, unless it is in an archive, as spark-submit has it."""
    file = _pyspark() / "version.py"
    if not file.is_file():
        return str(import_module("pyspark").__version__)
    return str(run_path(str(file))["__version__"])


def class_archive(cache: Path) -> Path:
    """The JVM's archive of loaded classes (CDS), which halves Spark's start; `verger prepare` makes it.

    The JVM ignores, without a word, one that was made by another Java or classpath, or before its jars were installed
    again: all are part of its name.
    """
    spark = sorted(f"{file.name} {file.stat().st_mtime:.0f}" for file in (spark_home() / "jars").glob("*.jar"))
    key = [_this_java(), str(spark_home()), *JVM, *spark, *(jar.sha256 for jar in jars.locked(spark_version()))]
    return cache / "jvm" / f"{_digest(key)}.jsa"


def _pyspark() -> Path:
    spec = find_spec("pyspark")
    if spec is None or not spec.submodule_search_locations:
        raise VergerError("PySpark is not installed; `pip install verger` brings it")
    return Path(spec.submodule_search_locations[0])


def _this_java() -> str:
    """The java that runs, and when it was installed."""
    file = Path(java.executable()).resolve()
    return f"{file} {file.stat().st_mtime_ns}"


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _command(options: dict[str, str], *folders: Path) -> list[str]:
    """The JVM's command line as Spark's launcher makes it, asked once: kept in the last of the folders."""
    given = [word for key, value in options.items() for word in ("--conf", f"{key}={value}")]
    name = f"jvm/{_digest([_this_java(), str(spark_home()), spark_version(), *given])}.json"
    for folder in folders:
        with suppress(OSError, ValueError):
            known: list[str] = json.loads((folder / name).read_text())
            housekeeping.used(folder / name)
            return known
    command, file = _asked(given), folders[-1] / name
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(command))
    partial.replace(file)
    return command


def _asked(given: list[str]) -> list[str]:
    """Spark's launcher, as `bin/spark-class` asks it: words that end with NUL, after a first empty line."""
    main = ("org.apache.spark.launcher.Main", "org.apache.spark.deploy.SparkSubmit")
    launcher = [java.executable(), *JVM, "-cp", str(spark_home() / "jars" / "*"), *main, *given, "pyspark-shell"]
    script = f"""source '{spark_home()}/bin/load-spark-env.sh' && exec "$@\""""
    told = subprocess.run(["bash", "-c", script, "launcher", *launcher], capture_output=True, check=False)
    words = told.stdout.partition(b"\0\n")[2].split(b"\0")[:-1]
    if told.returncode != 0 or not words:
        why = told.stderr.decode(errors="replace").strip().splitlines()[:1] or [f"it ended with {told.returncode}"]
        raise VergerError(f"Spark did not start: {why[0]}")
    return _in_order([word.decode() for word in words])


def _in_order(command: list[str]) -> list[str]:
    """With the classpath's `jars/*` spelt out. Java takes them as the file system lists them, which another machine's
    does otherwise: it would not have the class archive that an image brings."""
    at = command.index("-cp") + 1
    entries = command[at].split(os.pathsep)
    files = [sorted(map(str, Path(entry[:-1]).glob("*.jar"))) if entry.endswith("/*") else [entry] for entry in entries]
    classpath = dict.fromkeys(chain.from_iterable(files))  # each once: with one twice, the JVM takes no archive
    return [*command[:at], os.pathsep.join(classpath), *command[at + 1 :]]


def _started(command: list[str], log: BinaryIO) -> Jvm:
    """Start the JVM and wait until it says where it listens."""
    with tempfile.TemporaryDirectory(prefix="verger-") as folder:
        said = Path(folder, "connection")
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # Spark looks up the machine's own name, which has no address where there is no network.
            env={"SPARK_LOCAL_IP": "127.0.0.1", **os.environ, "_PYSPARK_DRIVER_CONN_INFO_PATH": str(said)},
            start_new_session=True,  # Ctrl-C is for this process, which ends the JVM in order
        )
        while not said.exists():  # it is put in place whole
            if process.poll() is not None:
                raise VergerError(f"Spark did not start: its JVM ended with {process.returncode}; see {log.name}")
            time.sleep(0.02)
        port, length = struct.unpack(">ii", (data := said.read_bytes())[:8])
        return Jvm(process, port, data[8 : 8 + length].decode())
