"""Spark's worker daemon, which has imported what workers need before it forks them: they share that memory, and start
in tenths of a second.

Named by `spark.python.daemon.module`. No engine is built here: its threads would not live through the fork.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENVINO_TELEMETRY", "0")

import openvino  # noqa: F401
from pyspark.daemon import manager

import verger.workers  # noqa: F401

if __name__ == "__main__":
    manager()  # type: ignore[no-untyped-call]
