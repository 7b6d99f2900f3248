"""Hours and requests into money."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from verger.cost import CAPACITY, WAYS, Cost, amount, lines
from verger.errors import SettingsError
from verger.estimate import estimate, seconds
from verger.fleet import CHART, Fleet, Pod
from verger.prices import TABLE, Prices
from verger.results import summary
from verger.s3_requests import Requests
from verger.usage import Held, Usage

from tests.conftest import Runner, command
from tests.support import one_line
from tests.test_readme import ROOT

PRICES = Prices.load(None)
REGIONS = st.sampled_from(sorted(PRICES.regions))
NUMBERS = st.integers(0, 10**9)
PODS = st.builds(Pod, st.sampled_from(["driver", "executor"]), st.floats(0.1, 96), st.floats(0.5, 768))
USAGES = st.builds(
    Usage,
    st.lists(st.builds(Held, PODS, st.floats(0, 10**6)), max_size=5).map(tuple),
    st.floats(0, 10**6),
    st.builds(Requests, NUMBERS, NUMBERS),
    st.booleans(),
)


def both(one: Usage, other: Usage) -> Usage:
    """Two runs, one after the other."""
    return Usage(one.held + other.held, one.seconds + other.seconds, one.requests + other.requests, one.local)


def totals(cost: Cost) -> list[float]:
    return [cost.usd(way, capacity) for way in WAYS for capacity in CAPACITY]


@given(USAGES, USAGES, REGIONS)
def test_two_runs_cost_what_each_costs(one: Usage, other: Usage, region: str) -> None:
    other = replace(other, local=one.local)
    separate = [
        a + b for a, b in zip(totals(Cost.of(one, PRICES, region)), totals(Cost.of(other, PRICES, region)), strict=True)
    ]
    assert totals(Cost.of(both(one, other), PRICES, region)) == pytest.approx(separate)


@given(USAGES, PODS, st.floats(1, 10**6), REGIONS)
def test_a_pod_more_costs_more_and_emr_and_nodes_on_demand_do(
    usage: Usage, pod: Pod, seconds: float, region: str
) -> None:
    usage = replace(usage, local=False)
    more = Cost.of(replace(usage, held=(*usage.held, Held(pod, seconds))), PRICES, region)
    assert all(a < b for a, b in zip(totals(Cost.of(usage, PRICES, region)), totals(more), strict=True))
    assert more.usd("eks", "spot") <= more.usd("eks", "on_demand") < more.usd("emr_on_eks", "on_demand")


@given(USAGES, REGIONS)
def test_what_a_run_json_tells_is_priced_again_as_it_was(usage: Usage, region: str) -> None:
    told = json.loads(json.dumps(Cost.of(usage, PRICES, region).plain()))
    again = Cost.of(Usage.read(told), PRICES, region).plain()
    assert again["parts"]["s3"] == told["parts"]["s3"]
    assert again["vcpu_hours"] == pytest.approx(told["vcpu_hours"], rel=1e-3, abs=0.03)
    assert (again["estimates"] == {}) == usage.local


def test_by_hand() -> None:
    """A driver and two executors for half an hour in Paris: each is a quarter of an m6i.xlarge, by its 4 GB."""
    pods = (Pod("driver", 1, 4), Pod("executor", 1, 4), Pod("executor", 0.2, 4))
    usage = Usage(tuple(Held(pod, 1800) for pod in pods), 1800, Requests(writes=1000, reads=10_000))
    cost = Cost.of(usage, PRICES, "eu-west-3")
    assert (usage.vcpu_hours, usage.gb_hours) == pytest.approx((1.1, 6))
    nodes, s3, emr = 3 * 0.5 * 0.224 / 4, 0.0053 + 10 * 0.00042, 1.1 * 0.01012 + 6 * 0.00111125
    assert cost.usd("eks", "on_demand") == pytest.approx(nodes + 0.05 + s3)
    assert cost.usd("emr_on_eks", "on_demand") == pytest.approx(nodes + 0.05 + s3 + emr)
    assert cost.usd("eks", "spot") == pytest.approx(0.5 * (0.224 + 2 * 0.1033) / 4 + 0.05 + s3)
    plain = cost.plain()["estimates"]["eks"]["on_demand"]
    assert plain["usd"] / plain["eur"] == pytest.approx(1.1172, rel=1e-6)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.00"), (0.00042, "0.00042"), (0.0004, "0.00040"), (0.0123, "0.012"), (12.3, "12.30"), (4321.5, "4,321.50")],
)
def test_small_amounts_have_two_digits(value: float, text: str) -> None:
    assert amount(value) == text


def test_the_lines_name_each_price_that_is_not_the_regions_own() -> None:
    first, second = lines(estimate(1000, 10**7, Fleet.of(CHART), PRICES, "eu-south-2").plain())
    assert first.endswith("S3 requests (modelled)")
    for part in ("EKS $", "EMR on EKS $", "on spot $", "prices of 2026-11-26, eu-south-2", "spot (eu-west-1's)"):
        assert part in second


@given(st.integers(1, 10**7), st.integers(0, 10**12), st.integers(1, 100), REGIONS)
def test_an_estimate_grows_with_images_and_bytes(images: int, size: int, executors: int, region: str) -> None:
    fleet = Fleet.of(CHART | {"spark.executor.instances": str(executors)})
    cost = estimate(images, size, fleet, PRICES, region)
    more = estimate(images + 1000, size + 10**9, fleet, PRICES, region)
    assert all(a < b for a, b in zip(totals(cost), totals(more), strict=True))
    assert len(cost.usage.held) == executors + 1
    assert cost.usage.requests.reads >= images
    assert cost.usage.requests.modelled == cost.usage.requests.reads + cost.usage.requests.writes


def test_more_slots_take_less_time_and_large_images_more_than_they_wait() -> None:
    rates = PRICES.rates
    assert seconds(1000, 10**6, 4, rates) - 9.9 == pytest.approx((seconds(1000, 10**6, 1, rates) - 9.9) / 4)
    assert seconds(1000, 10**6, 1, rates) - 9.9 == pytest.approx(1000 * 0.1 / 16)
    assert seconds(1000, 10**9 << 10, 1, rates) > 2 * seconds(1000, 10**6, 1, rates)


def test_nothing_to_estimate_is_one_line() -> None:
    with pytest.raises(SettingsError) as error:
        estimate(0, 0, Fleet.of(CHART), PRICES, "eu-west-3")
    one_line(error, "0 images")


# The command


def told(*arguments: object) -> str:
    done = command("cost", "--region", "eu-west-3", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_table_of_ones_own_counts(tmp_path: Path) -> None:
    table = yaml.safe_load(TABLE.read_text())
    table["regions"]["eu-west-3"]["eks_hour"]["usd"] = 1000.0
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(table))
    assert "EKS $0." in told("--count", 1)
    assert "EKS $2." in told("--count", 1, "--prices", tmp_path / "own.yaml")


def test_the_documents_million_images_are_what_the_command_prints() -> None:
    text = (ROOT / "docs" / "cost.md").read_text()
    shown = [block.split("```")[0] for block in text.split("```text\n")[1:]]
    line = next(line for line in text.splitlines() if line.startswith(".venv/bin/verger cost --count"))
    assert [told(*line.split()[2:])] == shown


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "--count is missing"),
        (["--count", "5", "--conf", "spark.executor.instances"], "--conf spark.executor.instances: no NAME=VALUE"),
        (["--results", "/nowhere"], "--results /nowhere: no run.json"),
        (["--count", "5", "--region", "eu-west-9"], "--region eu-west-9"),
    ],
)
def test_what_can_not_be_priced_is_one_line(given: list[str], said: str) -> None:
    done = command("cost", *given)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"verger: {said}")


# A run


@pytest.mark.spark
def test_a_local_run_tells_hours_and_no_money_and_a_table_prices_it_later(run: Runner, orchard: Path) -> None:
    outcome = run(orchard)
    cost = outcome.manifest["cost"]
    pod = cost["pods"][0]
    assert [pod["role"] for pod in cost["pods"]] == ["driver"]
    assert cost["vcpu_hours"] == pytest.approx(pod["vcpu"] * pod["seconds"] / 3600, abs=2e-6)
    assert cost["gb_hours"] == pytest.approx(pod["gb"] * pod["seconds"] / 3600, abs=2e-6)
    assert pod["seconds"] == pytest.approx(outcome.manifest["seconds"]["total"], abs=0.5)
    assert "estimates" not in cost
    assert cost["s3_requests"] == {"writes": 0, "reads": 0, "modelled": 0}
    assert f"cost: {lines(cost)[0]}" in summary(outcome.location, outcome.manifest)
    assert lines(cost)[0] in told("--results", outcome.results)
