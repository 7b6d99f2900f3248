"""Whole processes, timed from outside: seconds from start to end, and the memory of Spark's Python workers."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

INTERVAL = 0.3  # seconds between looks at the memory: well below a percent of a core


class BenchmarkError(Exception):
    """Nothing can be said about what was measured; the message is one line."""


@dataclass(frozen=True)
class Measured:
    """One process: wall seconds, and the largest resident memory of any one worker in bytes, 0 for none."""

    seconds: float
    worker_rss: int


def measure(command: list[str], log: Path, folder: Path) -> Measured:
    """Run a command in `folder`, its output in `log`; a BenchmarkError when it fails."""
    with log.open("wb") as sink:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, cwd=folder, env=environment())
        workers = Workers(process.pid)
        workers.start()
        try:
            code = process.wait()  # blocks: polling would round the seconds up
            seconds = time.perf_counter() - began
        except BaseException:
            process.kill()  # a JVM below it ends with it
            process.wait()
            raise
        finally:
            workers.stop()
    if code != 0:
        last = next((line for line in reversed(log.read_text(errors="replace").splitlines()) if line.strip()), "")
        raise BenchmarkError(f"{Path(command[1]).name} ended with {code}: {last.strip()[:200]} (see {log})")
    return Measured(seconds, workers.largest)


def environment() -> dict[str, str]:
    """This process's environment without Verger's settings, but for the cache: all runs have the same ones."""
    return {name: value for name, value in os.environ.items() if not name.startswith("VERGER_") or name == CACHE}


CACHE = "VERGER_CACHE"


@dataclass
class Workers:
    """A thread that looks at the Python processes below the JVM of a process: Spark's daemon and its workers."""

    pid: int
    largest: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL):
            try:
                below = psutil.Process(self.pid).children(recursive=True)
                sizes = [size for jvm in below if jvm.name() == "java" for size in _python_sizes(jvm)]
            except psutil.Error:  # one of them ended between two looks
                continue
            self.largest = max([self.largest, *sizes])


def _python_sizes(jvm: psutil.Process) -> list[int]:
    sizes = []
    for process in jvm.children(recursive=True):
        try:
            if process.name().startswith("python"):
                sizes.append(process.memory_info().rss)
        except psutil.Error:  # a worker that just ended
            continue
    return sizes
