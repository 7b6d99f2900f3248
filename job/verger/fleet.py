"""What a run holds while it lasts: the driver and its executors, by what their pods ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from verger.errors import SettingsError

GIB = 1 << 30
WORKER = 700 << 20  # bytes that a Python worker may take
DRIVER = 600 << 20  # bytes of the driver's Python, beside the JVM's heap
# Spark, "Running Spark on Kubernetes": what a pod of Python has beside its heap, where nothing else is set.
OVERHEAD_SHARE = 0.4
LEAST_OVERHEAD = 384 << 20
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True)
class Pod:
    """vCPUs and GB (2**30 bytes) that one pod holds, whatever it does with them."""

    role: str  # driver or executor
    vcpu: float
    gb: float


@dataclass(frozen=True)
class Fleet:
    """A driver and its executors. `slots` is how many tasks run at a time."""

    driver: Pod
    executor: Pod
    executors: int
    slots: int

    @classmethod
    def of(cls, conf: Mapping[str, str]) -> Fleet:
        """The fleet that Spark's properties ask Kubernetes for; a SettingsError for a size that is none.

        Sources: Spark, "Running Spark on Kubernetes" (request.cores counts above cores) and "Configuration" (memory).
        """
        executors = _count("spark.executor.instances", conf, 2)
        cores = _count("spark.executor.cores", conf, 1)
        slots = executors * cores // _count("spark.task.cpus", conf, 1)
        return cls(_pod("driver", conf), _pod("executor", conf), executors, max(slots, 1))

    @property
    def pods(self) -> tuple[Pod, ...]:
        return (self.driver, *[self.executor] * self.executors)


# The chart's own sizes: helm/verger/values.yaml.
CHART = {
    "spark.driver.cores": "1",
    "spark.driver.memory": "2g",
    "spark.driver.memoryOverhead": "1g",
    "spark.executor.instances": "2",
    "spark.executor.cores": "2",
    "spark.executor.memory": "2g",
    "spark.executor.memoryOverhead": "2g",
}


def this_machine(heap: str, slots: int) -> Pod:
    """A local run: the JVM, with `heap`, and its Python processes."""
    return Pod("driver", slots, (_bytes(heap) + DRIVER + slots * WORKER) / GIB)


def _pod(role: str, conf: Mapping[str, str]) -> Pod:
    asked = conf.get(f"spark.kubernetes.{role}.request.cores") or conf.get(f"spark.{role}.cores", "1")
    heap = _bytes(conf.get(f"spark.{role}.memory", "1g"))
    share = float(
        conf.get(f"spark.{role}.memoryOverheadFactor")
        or conf.get("spark.kubernetes.memoryOverheadFactor")
        or OVERHEAD_SHARE
    )
    given = conf.get(f"spark.{role}.memoryOverhead")
    overhead = _bytes(given) if given else max(int(heap * share), LEAST_OVERHEAD)
    python = _bytes(conf.get(f"spark.{role}.pyspark.memory", "0"))
    return Pod(role, _vcpu(asked), (heap + overhead + python) / GIB)


def _count(name: str, conf: Mapping[str, str], default: int) -> int:
    given = conf.get(name, str(default))
    if not given.isdecimal() or int(given) < 1:
        raise SettingsError(f"{name}={given}: not a number of at least 1; write {name}={default}")
    return int(given)


def _vcpu(quantity: str) -> float:
    """Kubernetes' quantity of CPU: `2`, `0.5` or `500m`."""
    if (found := re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", quantity)) is None:
        raise SettingsError(f"{quantity}: not a quantity of CPU; write 2, 0.5 or 500m")
    return float(found[1]) / (1000 if found[2] else 1)


def _bytes(size: str) -> int:
    """Spark's size of memory: `2g`, `512m`, or a number of MiB."""
    if (found := re.fullmatch(r"(\d+)([kmgt]?)b?", size.lower())) is None:
        raise SettingsError(f"{size}: not a size of memory; write 2g or 512m")
    return int(found[1]) * _UNITS[found[2] or "m"]
