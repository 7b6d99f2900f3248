"""Against NumPy in one go, on data that breaks the naive sums."""

from __future__ import annotations

import pickle
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from verger.errors import VergerError
from verger.statistics import Floats, Running, Statistics

from tests.support import one_line

VALUES = st.floats(-1e6, 1e6, width=32)
BLOCKS = st.tuples(st.integers(0, 12), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=VALUES)
)


def covariance(rows: NDArray[Any]) -> Floats:
    return np.atleast_2d(np.cov(rows.astype(np.float64), rowvar=False))


def of(statistics: Statistics) -> Floats:
    """The covariance that these statistics tell."""
    return statistics.scatter / (statistics.n - 1)


def agree(one: Statistics, other: Statistics, size: float) -> None:
    """The same to rounding, of rows as large as `size`."""
    assert one.n == other.n
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12, atol=1e-12 * size)
    np.testing.assert_allclose(one.scatter, other.scatter, rtol=1e-9, atol=1e-12 * size**2 * max(one.n, 1))


def size(*blocks: NDArray[Any]) -> float:
    return max([1.0, *(float(np.abs(block).max()) for block in blocks if block.size)])


@given(BLOCKS.filter(lambda rows: len(rows) > 1))
def test_mean_and_covariance_are_those_of_numpy(rows: NDArray[np.float32]) -> None:
    statistics = Statistics.of(rows)
    assert statistics.n == len(rows)
    assert statistics.mean.dtype == statistics.scatter.dtype == np.float64
    scale = size(rows)
    np.testing.assert_allclose(statistics.mean, rows.mean(axis=0, dtype=np.float64), rtol=1e-12, atol=1e-12 * scale)
    np.testing.assert_allclose(of(statistics), covariance(rows), rtol=1e-9, atol=1e-12 * scale**2)
    np.testing.assert_allclose(statistics.variance, np.diag(covariance(rows)), rtol=1e-9, atol=1e-12 * scale**2)


@given(BLOCKS, st.lists(st.integers(0, 12), max_size=4))
def test_any_split_merges_to_the_whole(rows: NDArray[np.float32], cuts: list[int]) -> None:
    parts = np.split(rows, sorted(min(cut, len(rows)) for cut in cuts))
    merged = reduce(add, (Statistics.of(part) for part in parts))
    agree(merged, Statistics.of(rows), size(rows))


@given(BLOCKS, st.data())
def test_the_order_of_merging_does_not_matter(rows: NDArray[np.float32], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(rows)))
    last = data.draw(st.integers(cut, len(rows)))
    a, b, c = (Statistics.of(part) for part in (rows[:cut], rows[cut:last], rows[last:]))
    agree(a + b, b + a, size(rows))
    agree((a + b) + c, a + (b + c), size(rows))


@given(BLOCKS)
def test_nothing_added_changes_nothing(rows: NDArray[np.float32]) -> None:
    statistics, nothing = Statistics.of(rows), Statistics.empty(rows.shape[1])
    for total in (statistics + nothing, nothing + statistics):
        assert total.n == statistics.n
        np.testing.assert_array_equal(total.mean, statistics.mean)
        np.testing.assert_array_equal(total.scatter, statistics.scatter)


@given(BLOCKS, BLOCKS)
def test_bytes_hold_them_exactly(one: NDArray[np.float32], other: NDArray[np.float32]) -> None:
    width = min(one.shape[1], other.shape[1])
    statistics = Statistics.of(one[:, :width]) + Statistics.of(other[:, :width])
    back = Statistics.from_bytes(statistics.to_bytes())
    assert back.n == statistics.n
    np.testing.assert_array_equal(back.mean, statistics.mean)
    # Only a triangle is written: np.outer(delta, delta * c) would round each side of the merged scatter differently.
    np.testing.assert_array_equal(back.scatter, statistics.scatter)


def test_bytes_of_all_features_are_half_a_matrix() -> None:
    statistics = Statistics.of(np.random.default_rng(0).normal(size=(3, 1280)))
    data = statistics.to_bytes()
    assert len(data) == 8 * (1 + 1280 + 1280 * 1281 // 2)
    np.testing.assert_array_equal(Statistics.from_bytes(data).scatter, statistics.scatter)


@example([0.1], [10, 3])
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4), st.lists(st.integers(0, 50), min_size=1, max_size=5))
def test_constant_columns_have_exactly_no_variance(values: list[float], counts: list[int]) -> None:
    row = np.array(values)
    blocks = (Statistics.of(np.tile(row, (count, 1))) for count in counts)
    statistics = reduce(add, blocks, Statistics.empty(len(row)))
    np.testing.assert_array_equal(statistics.scatter, 0)
    np.testing.assert_array_equal(statistics.variance, 0)
    if statistics.n:
        np.testing.assert_array_equal(statistics.mean, row)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_rows_have_no_variance(n: int) -> None:
    statistics = Statistics.of(np.full((n, 3), 7.5))
    np.testing.assert_array_equal(statistics.variance, np.zeros(3))
    assert statistics.n == n


HARD = {  # name: means, standard deviations
    "SPARK-26158": ((1e5, 2e5), (9e-6, 2e-6)),
    "large means": ((1e6, -1e6, 1e6), (1e-3, 1e-3, 1e-3)),
    "far apart": ((1e8, 1e-8), (1.0, 1e-10)),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("block", [7, 100, 2000])
def test_small_variances_survive_large_means(name: str, block: int) -> None:
    means, deviations = HARD[name]
    rows = np.random.default_rng(1).normal(means, deviations, (2000, len(means)))
    merged = reduce(add, (Statistics.of(rows[start : start + block]) for start in range(0, len(rows), block)))
    exact = covariance((rows - rows[0]).astype(np.longdouble))
    np.testing.assert_allclose(merged.variance, np.diag(exact), rtol=1e-6)
    np.testing.assert_allclose(merged.variance, np.square(deviations), rtol=0.2)
    scale = np.sqrt(np.diag(exact))
    np.testing.assert_allclose(of(merged), exact, atol=1e-6 * np.outer(scale, scale).max(), rtol=1e-3)


def test_two_near_points_far_from_zero_give_their_direction() -> None:  # faiss#773
    statistics = Statistics.of(np.array([[1e5 + 1, 1e5], [1e5, 1e5 + 1]]))
    np.testing.assert_array_equal(statistics.scatter, [[0.5, -0.5], [-0.5, 0.5]])


@pytest.mark.parametrize("split", [1, 2, 3])
def test_a_small_example_by_hand(split: int) -> None:
    rows = np.array([[1, 1], [1, 3], [5, 1], [5, 3]], np.float32)
    statistics = Statistics.of(rows[:split]) + Statistics.of(rows[split:])
    assert statistics.n == 4
    np.testing.assert_allclose(statistics.mean, [3, 2], rtol=1e-15)
    np.testing.assert_allclose(statistics.scatter, [[16, 0], [0, 4]], rtol=1e-15, atol=1e-14)


def test_float32_rows_are_summed_in_float64() -> None:
    rows = np.random.default_rng(2).uniform(0, 6, (20_000, 2)).astype(np.float32)
    np.testing.assert_allclose(Statistics.of(rows).mean, rows.astype(np.float64).mean(axis=0), rtol=1e-13)


def test_the_rows_are_left_as_they_were() -> None:
    rows = np.random.default_rng(3).normal(size=(5, 3))
    before = rows.copy()
    Statistics.of(rows)
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 2])  # the first is the one that the others are shifted by
def test_a_value_that_is_not_finite_is_refused(value: float, row: int) -> None:
    rows = np.ones((3, 2), np.float32)
    rows[row, 1] = value
    with pytest.raises(VergerError) as error:
        Statistics.of(rows)
    one_line(error, "not a finite number")


@given(st.lists(st.integers(0, 5), max_size=8), st.integers(1, 7))
def test_rows_that_come_a_few_at_a_time_have_the_statistics_of_all(sizes: list[int], block: int) -> None:
    random = np.random.default_rng(len(sizes))
    parts = [random.normal(size=(size, 3)) for size in sizes]
    running = Running(block)
    for part in parts:
        running.add(part)
    found = running.end()
    assert found.n == sum(sizes)
    if found.n:
        whole = Statistics.of(np.concatenate(parts))
        np.testing.assert_allclose(found.mean, whole.mean, atol=1e-12)
        np.testing.assert_allclose(found.scatter, whole.scatter, atol=1e-12)


def test_pickled_they_are_half_a_scatter_and_the_same() -> None:
    statistics = Statistics.of(np.random.default_rng(1).normal(size=(20, 50)))
    packed = pickle.dumps(statistics)
    assert len(packed) < 50 * 50 * 8 * 0.6
    again = pickle.loads(packed)
    np.testing.assert_array_equal(again.scatter, statistics.scatter)
    np.testing.assert_array_equal(again.mean, statistics.mean)
