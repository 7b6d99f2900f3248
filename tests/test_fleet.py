from __future__ import annotations

import pytest
from verger.errors import SettingsError
from verger.fleet import CHART, Fleet, Pod, this_machine

from tests.support import one_line
from tests.test_readme import ROOT


def test_the_charts_sizes_are_the_charts() -> None:
    """What helm renders of the chart's values as they are."""
    lines = (ROOT / "helm" / "rendered" / "minimal.yaml").read_text().splitlines()
    conf = dict(line.split(maxsplit=1) for line in lines if line.strip().startswith("spark.") and ": " not in line)
    assert Fleet.of(conf) == Fleet.of(CHART) == Fleet(Pod("driver", 1, 3), Pod("executor", 2, 4), 2, 4)


def test_a_pod_without_an_overhead_has_sparks() -> None:
    """Seen on a cluster: a gigabyte of heap becomes a pod of 1433 Mi, and a small one has at least 384 beside it."""
    fleet = Fleet.of({"spark.executor.memory": "1g", "spark.driver.memory": "512m"})
    assert (int(fleet.executor.gb * 1024), fleet.driver.gb * 1024) == (1433, 896)
    assert Fleet.of({"spark.executor.memoryOverheadFactor": "0.5"}).executor.gb == 1.5
    assert Fleet.of({"spark.executor.pyspark.memory": "1g", "spark.executor.memoryOverhead": "1024"}).executor.gb == 3


@pytest.mark.parametrize(("asked", "vcpu"), [("200m", 0.2), ("2", 2), ("0.5", 0.5)])
def test_a_pod_has_the_cpu_that_it_asks_for_and_not_its_threads(asked: str, vcpu: float) -> None:
    fleet = Fleet.of({"spark.executor.cores": "4", "spark.kubernetes.executor.request.cores": asked})
    assert fleet.executor.vcpu == vcpu
    assert fleet.slots == 8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spark.executor.instances", "0"),
        ("spark.executor.memory", "much"),
        ("spark.kubernetes.driver.request.cores", "two"),
    ],
)
def test_a_size_that_is_none_is_one_line(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as error:
        Fleet.of({name: value})
    one_line(error, value, "write")


def test_this_machines_run_has_a_heap_and_its_workers() -> None:
    assert this_machine("2g", 3).gb - this_machine("1g", 3).gb == 1
    assert this_machine("2g", 2).gb < this_machine("2g", 3).gb
