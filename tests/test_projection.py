"""Against scikit-learn's PCA, published examples, and the cases where a naive one divides by zero."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from verger.errors import SettingsError
from verger.projection import FILE, MANIFEST, STATISTICS, Projection
from verger.statistics import Floats, Statistics

from tests.support import one_line

MODEL = "mobilenetv2-0123456789abcdef"


def fit(rows: NDArray[Any], k: int) -> Projection:
    return Projection.fit(Statistics.of(rows), k, MODEL)


def rows_of(n: int, d: int, seed: int = 0) -> Floats:
    """Correlated columns of different sizes."""
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)) @ random.normal(size=(d, d)) * np.logspace(-3, 3, d) + random.normal(size=d) * 100


def scikit(rows: Floats, k: int) -> tuple[PCA, Floats]:
    """scikit-learn's PCA of the standardised rows, with n - 1 as here and in MLlib; and the projected rows."""
    n = len(rows)
    standard = StandardScaler().fit_transform(rows) * np.sqrt((n - 1) / n)
    pca = PCA(k, svd_solver="full")
    return pca, pca.fit_transform(standard)


@pytest.mark.parametrize(("n", "d", "k"), [(50, 6, 6), (200, 20, 5), (2000, 40, 40), (30, 64, 29), (10, 300, 9)])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_scikit_learns_pca_of_standardised_columns(n: int, d: int, k: int, seed: int) -> None:
    rows = rows_of(n, d, seed)
    pca, expected = scikit(rows, k)
    projection = fit(rows, k)
    np.testing.assert_allclose(projection.explained, pca.explained_variance_ratio_, rtol=1e-6)
    signs = np.sign((projection.components * pca.components_.T).sum(axis=0))
    np.testing.assert_allclose(projection.components, pca.components_.T * signs, atol=1e-6)
    np.testing.assert_allclose(projection.apply(rows), expected * signs, rtol=1e-4, atol=1e-4)


def test_the_standardised_example_of_pysparks_documentation() -> None:
    # Its rows are not standardised there (0.7943933, 0.2056067): what holds here is the rank, 2, and the centring.
    rows = np.array([[0, 1, 0, 7, 0], [2, 0, 3, 4, 5], [4, 0, 0, 6, 7]], np.float64)
    projection = fit(rows, 2)
    np.testing.assert_allclose(projection.explained.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(projection.explained, scikit(rows, 2)[0].explained_variance_ratio_, rtol=1e-6)
    np.testing.assert_allclose(projection.apply(rows).mean(axis=0), 0, atol=1e-6)


def test_independent_columns_share_the_variance() -> None:  # spark-rapids-ml: 0.8 and 0.2 before standardising
    rows = np.array([[1, 1], [1, 3], [5, 1], [5, 3]], np.float64)
    projection = fit(rows, 2)
    np.testing.assert_allclose(projection.mean, [3, 2])
    np.testing.assert_allclose(projection.explained, [0.5, 0.5], rtol=1e-12)
    np.testing.assert_allclose(projection.std, np.sqrt([16 / 3, 4 / 3]), rtol=1e-12)


def test_columns_on_one_line_are_one_component() -> None:  # spark-rapids-ml
    rows = np.array([[1, 1], [2, 2], [3, 3]], np.float64)
    projection = fit(rows, 1)
    np.testing.assert_allclose(projection.components[:, 0], [0.70710678, 0.70710678], rtol=1e-7)
    np.testing.assert_allclose(projection.explained, [1.0], rtol=1e-12)
    np.testing.assert_allclose(projection.apply(rows)[:, 0], [-np.sqrt(2), 0, np.sqrt(2)], rtol=1e-6, atol=1e-7)


def test_two_near_points_far_from_zero_are_told_apart() -> None:  # faiss#773
    rows = np.array([[1e5 + 1, 1e5], [1e5, 1e5 + 1]])
    projection = fit(rows, 1)
    np.testing.assert_allclose(np.abs(projection.components[:, 0]), np.sqrt([0.5, 0.5]), rtol=1e-9)
    assert projection.components[0, 0] * projection.components[1, 0] < 0
    np.testing.assert_allclose(np.sort(projection.apply(rows)[:, 0]), [-1, 1], rtol=1e-6)


@settings(max_examples=60)
@given(st.integers(2, 30), st.integers(1, 12), st.integers(0, 99), st.data())
def test_components_are_orthonormal_positive_and_in_order(n: int, d: int, seed: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, d))
    projection = fit(rows_of(n, d, seed), k)
    assert projection.k == k
    assert projection.components.shape == (d, k)
    np.testing.assert_allclose(projection.components.T @ projection.components, np.eye(k), atol=1e-9)
    largest = np.abs(projection.components).argmax(axis=0)
    assert (projection.components[largest, np.arange(k)] > 0).all()
    assert (np.diff(projection.explained) <= 1e-12).all()
    assert (projection.explained >= 0).all()
    assert projection.explained.sum() <= 1 + 1e-9


def test_all_components_explain_everything() -> None:
    np.testing.assert_allclose(fit(rows_of(100, 8), 8).explained.sum(), 1, rtol=1e-12)


def test_more_components_do_not_change_the_first_ones() -> None:
    rows = rows_of(100, 8)
    few, many = fit(rows, 3), fit(rows, 8)
    np.testing.assert_array_equal(few.components, many.components[:, :3])
    np.testing.assert_array_equal(few.explained, many.explained[:3])


def test_a_mean_image_projects_to_zero() -> None:
    rows = rows_of(50, 5)
    np.testing.assert_allclose(fit(rows, 5).apply(rows.mean(axis=0, keepdims=True)), 0, atol=1e-6)


def test_projected_columns_have_their_components_variance_and_no_correlation() -> None:
    rows = rows_of(500, 6)
    projection = fit(rows, 6)
    expected = np.diag(projection.explained * 6)  # six standardised columns have a whole variance of six
    np.testing.assert_allclose(np.cov(projection.apply(rows).astype(np.float64), rowvar=False), expected, atol=1e-5)


def test_features_in_float32_are_projected_in_float64() -> None:
    rows = (rows_of(50, 5) * 1e-3 + 1e3).astype(np.float32)
    projection = fit(rows, 5)
    applied = projection.apply(rows)
    assert applied.dtype == np.float32
    np.testing.assert_array_equal(applied, projection.apply(rows.astype(np.float64)))


def test_the_unit_of_a_column_does_not_matter() -> None:
    rows = rows_of(80, 4)
    np.testing.assert_allclose(
        fit(rows * [1, 1e6, 1e-6, 8], 4).apply(rows * [1, 1e6, 1e-6, 8]), fit(rows, 4).apply(rows), atol=1e-5
    )


# Columns and runs that carry nothing


def test_a_column_that_never_varies_becomes_zero_and_changes_nothing_else() -> None:
    rows = rows_of(40, 5)
    with_constant = np.insert(rows, 2, 3.7, axis=1)
    projection, other = fit(with_constant, 3), fit(rows, 3)
    np.testing.assert_array_equal(projection.std[2], 0)
    np.testing.assert_allclose(projection.components[2], 0, atol=1e-12)
    np.testing.assert_allclose(projection.explained, other.explained, rtol=1e-9)
    np.testing.assert_allclose(projection.apply(with_constant), other.apply(rows), atol=1e-6)
    unseen = with_constant[:1].copy()
    unseen[0, 2] = 1e9  # of an image that the projection was not made from
    np.testing.assert_array_equal(projection.apply(unseen), projection.apply(with_constant[:1]))


@pytest.mark.parametrize("rows", [np.full((1, 4), 2.0), np.full((5, 4), 2.0)], ids=["one image", "equal images"])
def test_images_without_any_variance_are_all_zero(rows: Floats) -> None:
    projection = fit(rows, 3)
    np.testing.assert_array_equal(projection.explained, np.zeros(3))
    np.testing.assert_array_equal(projection.apply(rows), np.zeros((len(rows), 3)))
    assert projection.n == len(rows)


def test_two_images_are_one_component() -> None:
    rows = rows_of(2, 6)
    projection = fit(rows, 4)
    np.testing.assert_allclose(projection.explained, [1, 0, 0, 0], atol=1e-12)
    applied = projection.apply(rows)
    np.testing.assert_allclose(np.abs(applied[:, 0]), np.sqrt([3, 3]), rtol=1e-6)  # sqrt(6 columns) / sqrt(2)
    np.testing.assert_allclose(applied[:, 1:], 0, atol=1e-5)


def test_components_beyond_the_rank_explain_nothing() -> None:
    rows = rows_of(5, 30)
    projection = fit(rows, 30)
    assert np.isfinite(projection.components).all()
    np.testing.assert_allclose(projection.explained[:4].sum(), 1, rtol=1e-9)
    np.testing.assert_allclose(projection.explained[4:], 0, atol=1e-12)
    np.testing.assert_allclose(projection.apply(rows)[:, 4:], 0, atol=1e-5)


# Files


def same(one: Projection, other: Projection) -> None:
    for name in ("mean", "std", "components", "explained"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.n, one.model, one.k) == (other.n, other.model, other.k)


@pytest.mark.parametrize("inside", ["", "projection"], ids=["projection folder", "results folder"])
def test_it_is_read_back_exactly(tmp_path: Path, inside: str) -> None:
    projection = fit(rows_of(20, 7), 3)
    projection.save(tmp_path / inside)
    same(Projection.load(tmp_path), projection)
    assert not (tmp_path / inside / STATISTICS).exists()


def test_its_statistics_can_be_merged_with_more_images(tmp_path: Path) -> None:
    rows = rows_of(60, 4)
    statistics = Statistics.of(rows[:40])
    Projection.fit(statistics, 2, MODEL).save(tmp_path, statistics)
    with np.load(tmp_path / STATISTICS) as saved:
        earlier = Statistics(int(saved["n"]), saved["mean"], saved["scatter"])
    merged = Projection.fit(earlier + Statistics.of(rows[40:]), 2, MODEL)
    np.testing.assert_allclose(merged.components, fit(rows, 2).components, atol=1e-9)


def test_its_summary_is_for_people_too(tmp_path: Path) -> None:
    projection = fit(rows_of(20, 7), 3)
    projection.save(tmp_path)
    summary = json.loads((tmp_path / MANIFEST).read_text())
    assert (summary["images"], summary["components"], summary["model"]) == (20, 3, MODEL)
    assert summary["explained_variance"] == pytest.approx(sum(summary["explained_variance_ratio"]))


def refused(folder: Path) -> None:
    with pytest.raises(SettingsError) as error:
        Projection.load(folder)
    one_line(error, str(folder), "no projection to read", "give RESULTS/projection")


def test_a_folder_without_a_projection_is_refused(tmp_path: Path) -> None:
    refused(tmp_path)
    refused(tmp_path / "missing")


@pytest.mark.parametrize("missing", [FILE, MANIFEST])
def test_half_a_projection_is_refused(tmp_path: Path, missing: str) -> None:
    fit(rows_of(20, 7), 3).save(tmp_path)
    (tmp_path / missing).unlink()
    refused(tmp_path)


@pytest.mark.parametrize("length", [0, 3, 10, 100, 600])
def test_a_projection_cut_off_is_refused(tmp_path: Path, length: int) -> None:
    fit(rows_of(20, 7), 3).save(tmp_path)
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes()[:length])
    refused(tmp_path)


def test_a_projection_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    fit(rows_of(20, 7), 3).save(tmp_path)
    data = bytearray((tmp_path / FILE).read_bytes())
    data[len(data) // 3] ^= 0xFF
    (tmp_path / FILE).write_bytes(data)
    refused(tmp_path)


@pytest.mark.parametrize("text", ["", "not JSON", "[]", "{}", '{"images": 3}', '{"model": "m"}', "\N{NULL}"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    fit(rows_of(20, 7), 3).save(tmp_path)
    (tmp_path / MANIFEST).write_text(text)
    refused(tmp_path)


@pytest.mark.parametrize("content", [b"text", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_what_is_no_projection_at_all_is_refused(tmp_path: Path, content: bytes) -> None:
    fit(rows_of(20, 7), 3).save(tmp_path)
    (tmp_path / FILE).write_bytes(content)
    refused(tmp_path)


def test_a_projection_that_lacks_an_array_is_refused(tmp_path: Path) -> None:
    projection = fit(rows_of(20, 7), 3)
    projection.save(tmp_path)
    np.savez(tmp_path / FILE, mean=projection.mean)
    refused(tmp_path)
