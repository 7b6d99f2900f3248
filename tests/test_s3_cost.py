"""A run's account of its requests, against what the server itself logged."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.s3server import Bucket, Request
from tests.test_s3_run import images, job, manifest  # noqa: F401 - a fixture

pytestmark = [pytest.mark.spark, pytest.mark.s3, pytest.mark.main]


def kinds(requests: list[Request]) -> Counter[str]:
    """By S3's own list of what costs what: https://aws.amazon.com/s3/pricing/"""
    writes = ("Put", "Copy", "Create", "Upload", "Complete", "List")
    reads = ("Get", "Head")
    return Counter(
        "writes" if request.action.startswith(writes) else "reads" if request.action.startswith(reads) else "free"
        for request in requests
    )


def asked(bucket: Bucket, before: int) -> tuple[Counter[str], Counter[str]]:
    """What the server was asked for by a run until it wrote its run.json, and from there on."""
    requests = bucket.requests()[before:]
    written = next(
        i for i, one in enumerate(requests) if one.action == "CreateMultipartUpload" and "run.json" in one.key
    )
    return kinds(requests[:written]), kinds(requests[written:])


def told(bucket: Bucket) -> dict[str, Any]:
    cost: Any = manifest(bucket)["cost"]
    print(json.dumps(cost))
    return dict(cost)


def test_a_local_run_counts_all_its_requests_but_those_that_publish(images: Bucket) -> None:  # noqa: F811
    for options, modelled in (([], 64 + 1), (["--overwrite"], 1)):  # all new, and all known: workers' GETs, and a LIST
        before = len(images.requests())
        job(images, *options)
        logged, later = asked(images, before)
        cost = told(images)
        print(dict(logged), dict(later))
        assert cost["s3_requests"]["modelled"] == modelled
        # The lease is renewed meanwhile, and the workers' LISTs are as many as folders.
        assert cost["s3_requests"]["writes"] == pytest.approx(logged["writes"], abs=4 + 8)
        assert cost["s3_requests"]["reads"] == pytest.approx(logged["reads"], abs=4)
        assert later["writes"] + later["reads"] < 120
        usd = (cost["s3_requests"]["writes"] * 0.0053 + cost["s3_requests"]["reads"] * 0.00042) / 1000
        assert cost["parts"] == {
            "s3": {"usd": pytest.approx(usd, abs=1e-8), "eur": pytest.approx(usd / 1.1172, abs=1e-8)}
        }
        assert cost["estimates"] == {}


def test_executors_requests_are_modelled_within_a_fifth_and_their_hours_add_up(
    images: Bucket,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPARK_SCALA_VERSION", "2.13")  # else Spark's worker looks for a build of Spark
    before = len(images.requests())
    job(images, "--master", "local-cluster[2,1,1024]", "--partitions", 4)
    logged, _ = asked(images, before)
    cost = told(images)
    print(dict(logged))
    assert cost["s3_requests"]["modelled"] > 64 + 1 + 160
    for kind in ("writes", "reads"):
        assert cost["s3_requests"][kind] == pytest.approx(logged[kind], rel=0.2)
    assert [(pod["role"], pod["vcpu"]) for pod in cost["pods"]] == [("driver", 1), ("executor", 1), ("executor", 1)]
    for hours, size in (("vcpu_hours", "vcpu"), ("gb_hours", "gb")):
        assert cost[hours] == pytest.approx(sum(pod[size] * pod["seconds"] for pod in cost["pods"]) / 3600, abs=1e-5)
    assert all(0 < pod["seconds"] <= cost["seconds"] for pod in cost["pods"])
    assert cost["estimates"]["eks"]["on_demand"]["usd"] < cost["estimates"]["emr_on_eks"]["on_demand"]["usd"]
