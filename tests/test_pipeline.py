"""The whole job, on real Spark: what it writes, what it never does twice, what it does not lose."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from verger import drawing, mllib, reduction
from verger.errors import NothingToDo, SettingsError, TooManyFailed, VergerError
from verger.features import Features
from verger.lease import NAME
from verger.projection import Projection
from verger.statistics import Statistics
from verger.store import Store

from tests.bad import bad_images
from tests.conftest import Runner

pytestmark = pytest.mark.spark


def vectors(results: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The Parquet's pcaFeatures by Fruit/file.jpg."""
    table = pq.read_table(results / "pca.parquet")
    names = ["/".join(path.split("/")[-2:]) for path in table["path"].to_pylist()]
    return dict(zip(names, np.array(table["pcaFeatures"].to_pylist()), strict=True))


def matrices(one: Path, other: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The pcaFeatures of two results [n, k], row by row the same image, the second's signed as the first's."""
    first, second = vectors(one), vectors(other)
    assert first.keys() == second.keys()
    a, b = (np.array([found[name] for name in sorted(first)]) for found in (first, second))
    return a, b * np.sign((a * b).sum(axis=0))


def assert_same(one: Path, other: Path) -> None:
    """Equal to 1e-4, whatever the sign of a component."""
    np.testing.assert_allclose(*matrices(one, other), rtol=0, atol=1e-4)


def assert_same_but_for_gaps(one: Path, other: Path) -> None:
    """Equal components, each as well as it is defined: the closer its eigenvalue is to a neighbour's, the further a
    difference in the features turns the two into one another (Davis and Kahan 1970, https://doi.org/10.1137/0707001).

    Engines' features differ by 2e-5 of 6, and neighbours here by 0.1 to 54 %. Measured, difference times gap: 2e-5 to
    9e-5; features that are off by 2e-5 everywhere give 5e-4.
    """
    with np.load(one / "projection" / "statistics.npz") as saved:
        statistics = Statistics(int(saved["n"]), saved["mean"], saved["scatter"])
    first, second = matrices(one, other)
    values = Projection.fit(statistics, first.shape[1] + 1, "any").explained
    steps = values[:-1] - values[1:]
    gaps = np.minimum(steps, np.concatenate([[np.inf], steps[:-1]])) / values[:-1]
    differences = np.abs(first - second).max(axis=0)
    assert (differences * gaps).max() <= 3e-4, (differences * gaps).argmax()


def copies(results: Path, to: Path) -> Path:
    return Path(shutil.copytree(results, to))


def test_a_run_leaves_what_the_contract_says(run: Runner, orchard: Path) -> None:
    outcome = run(orchard)
    results, manifest = outcome.results, outcome.manifest

    assert {entry.name for entry in results.iterdir()} == {
        "pca.parquet", "results.csv", "projection", "failures.csv", "run.json",
    }  # fmt: skip
    schema = pq.read_table(results / "pca.parquet").schema
    assert [(field.name, str(field.type)) for field in schema] == [
        ("path", "string"),
        ("label", "string"),
        ("pcaFeatures", "list<element: float>"),
    ]
    assert json.loads((results / "run.json").read_text()) == manifest
    assert manifest["images"] == {"listed": 64, "embedded": 64, "reused": 0, "failed": 0}
    assert manifest["work"] == {"files_read": 64, "images_embedded": 64}
    assert len(manifest["explained_variance"]["components"]) == 5
    assert 0 < manifest["explained_variance"]["sum"] <= 1
    assert (results / "failures.csv").read_text() == "path,label,size,reason\n"


def test_the_csv_says_what_the_parquet_says(run: Runner, orchard: Path) -> None:
    results = run(orchard).results
    with (results / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "pcaFeatures"]
    found = {"/".join(row["path"].split("/")[-2:]): json.loads(row["pcaFeatures"]) for row in rows}
    for name, vector in vectors(results).items():
        np.testing.assert_allclose(found[name], vector, rtol=1e-6)
    assert {row["label"] for row in rows} == set(drawing.FRUITS)


def test_a_second_run_reads_and_embeds_nothing(run: Runner, orchard: Path, tmp_path: Path) -> None:
    first = copies(run(orchard).results, tmp_path / "first")
    second = run(orchard, overwrite=True)
    assert second.manifest["images"] == {"listed": 64, "embedded": 0, "reused": 64, "failed": 0}
    assert second.manifest["work"] == {"files_read": 0, "images_embedded": 0}
    assert_same(first, second.results)


def test_statistics_given_by_workers_are_those_of_the_store(run: Runner, orchard: Path, tmp_path: Path) -> None:
    first = copies(run(orchard).results, tmp_path / "first")  # a new store, in one commit: gathered on the way
    second = run(orchard, overwrite=True).results  # from the store
    one, other = (np.load(results / "projection" / "statistics.npz") for results in (first, second))
    assert (one["n"], other["n"]) == (64, 64)
    np.testing.assert_allclose(one["mean"], other["mean"], rtol=1e-12)
    np.testing.assert_allclose(one["scatter"], other["scatter"], rtol=1e-10, atol=1e-10)
    assert not np.array_equal(one["scatter"], other["scatter"])  # added up in another order: they are two sums


def test_a_small_first_run_need_not_wait_for_deltas_query(
    run: Runner, orchard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Store) -> None:
        raise AssertionError("Delta was asked")

    monkeypatch.setattr(Store, "rows", refused)
    first = run(orchard)
    with pytest.raises(AssertionError, match="Delta was asked"):
        run(orchard, overwrite=True)
    monkeypatch.undo()
    monkeypatch.setattr(reduction, "PARTIALS", 1)  # where no run is small
    assert_same(first.results, run(orchard, store=str(tmp_path / "s"), results=str(tmp_path / "r")).results)


def test_only_new_and_changed_images_are_read(run: Runner, tmp_path: Path) -> None:
    images = tmp_path / "images"
    drawing.orchard(images, 4)
    run(images)
    drawing.draw("Kiwi", 100).save(images / "Kiwi" / "new.jpg")
    drawing.draw("Kiwi", 101).save(images / "Kiwi" / "0.jpg")
    (images / "Plum" / "0.jpg").unlink()

    outcome = run(images, overwrite=True)

    assert outcome.manifest["images"] == {"listed": 32, "embedded": 2, "reused": 30, "failed": 0}
    assert outcome.manifest["work"]["files_read"] == 2
    alone = run(images, store=str(tmp_path / "fresh"), results=str(tmp_path / "alone"))
    assert_same(outcome.results, alone.results)


def test_results_do_not_depend_on_commits_or_partitions(run: Runner, orchard: Path, tmp_path: Path) -> None:
    one = run(orchard, partitions=1)
    for number, cut in enumerate(({"commit_every": 10}, {"partitions": 7}, {"commit_every": 30, "partitions": 3})):
        other = run(orchard, store=str(tmp_path / f"s{number}"), results=str(tmp_path / f"r{number}"), **cut)
        assert_same(one.results, other.results)
        assert other.manifest["work"]["files_read"] == 64


@pytest.mark.main
def test_both_engines_give_the_same_results(run: Runner, orchard: Path, tmp_path: Path) -> None:
    one = run(orchard)
    other = run(orchard, engine="tensorflow", store=str(tmp_path / "s2"), results=str(tmp_path / "r2"))
    assert_same_but_for_gaps(one.results, other.results)


def test_every_bad_image_has_a_row_with_its_reason(run: Runner, tmp_path: Path) -> None:
    images = tmp_path / "images"
    drawing.orchard(images, 4)
    expected = bad_images(images / "Bad", 30)

    outcome = run(images, max_failed="50%")

    assert outcome.manifest["images"] == {"listed": 62, "embedded": 32, "reused": 0, "failed": 30}
    with (outcome.results / "failures.csv").open(newline="") as file:
        rows = {row["path"].split("/")[-1]: row for row in csv.DictReader(file)}
    assert {name: row["reason"].split(":")[0] for name, row in rows.items()} == expected
    assert all(row["label"] == "Bad" for row in rows.values())
    assert sum(outcome.manifest["failures"].values()) == 30
    again = run(images, max_failed="50%", overwrite=True)
    assert again.manifest["images"] == {"listed": 62, "embedded": 0, "reused": 32, "failed": 30}


def test_too_many_failures_are_an_error_with_the_results_kept(run: Runner, tmp_path: Path) -> None:
    images = tmp_path / "images"
    drawing.orchard(images, 1)
    (images / "Kiwi" / "bad.jpg").write_bytes(b"")
    with pytest.raises(TooManyFailed, match=r"^1 of 9 images failed \(1 empty\), --max-failed 1% allows 0; see"):
        run(images)
    assert len(vectors(tmp_path / "results")) == 8


def test_nothing_but_bad_images_says_so_and_lists_them(run: Runner, tmp_path: Path) -> None:
    images = tmp_path / "images" / "a"
    images.mkdir(parents=True)
    (images / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(TooManyFailed, match="1 of 1 images failed"):
        run(images.parent, max_failed="100%")
    assert "not an image" in (tmp_path / "results" / "failures.csv").read_text()


def test_limits_are_failures_that_a_later_run_tries_again(run: Runner, tmp_path: Path) -> None:
    images = tmp_path / "images" / "a"
    images.mkdir(parents=True)
    drawing.draw("Kiwi", 0).save(images / "small.png")
    drawing.draw("Kiwi", 1, side=400).save(images / "large.bmp")
    limited = run(images.parent, max_failed="50%", max_bytes=100_000, components=1)
    assert limited.manifest["failures"] == {"too many bytes": 1}
    pixels = run(images.parent, max_failed="50%", max_pixels=20_000, components=1, overwrite=True)
    assert pixels.manifest["failures"] == {"too many pixels": 1}
    assert pixels.manifest["images"] == {"listed": 2, "embedded": 0, "reused": 1, "failed": 1}
    free = run(images.parent, components=1, overwrite=True)
    assert free.manifest["images"] == {"listed": 2, "embedded": 1, "reused": 1, "failed": 0}


def test_one_image_gives_zeros_and_explains_nothing(run: Runner, tmp_path: Path) -> None:
    images = tmp_path / "images" / "a"
    images.mkdir(parents=True)
    drawing.draw("Kiwi", 0).save(images / "only.png")
    outcome = run(images.parent, components=3)
    assert vectors(outcome.results)["a/only.png"].tolist() == [0, 0, 0]
    assert outcome.manifest["explained_variance"]["sum"] == 0


def test_names_may_hold_anything_that_a_file_system_allows(run: Runner, tmp_path: Path) -> None:
    names = ["a b.jpg", "p%41.jpg", "h#1.jpg", "é+.jpg", "q?.jpg", "st*r.jpg", "quote'\".jpg", "comma,.jpg", "n\nl.jpg"]
    images = tmp_path / "im[ag]es {1}" / "la%62el #1"
    images.mkdir(parents=True)
    for number, name in enumerate(names):
        drawing.draw("Kiwi", number).save(images / name, "JPEG")
    # Two commits, the second run's with a list of names: both ways to choose files.
    outcome = run(images.parent, commit_every=5, components=2)
    assert {name.split("/")[-1] for name in vectors(outcome.results)} == set(names)
    with (outcome.results / "results.csv").open(newline="") as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"la%62el #1"}
    for name in names[:4]:
        drawing.draw("Plum", 7).save(images / name, "JPEG")
    again = run(images.parent, commit_every=2, components=2, overwrite=True)
    assert again.manifest["images"] == {"listed": 9, "embedded": 4, "reused": 5, "failed": 0}


def test_formats_go_by_content_and_include_by_name(run: Runner, tmp_path: Path) -> None:
    images = tmp_path / "images" / "a"
    images.mkdir(parents=True)
    drawing.draw("Kiwi", 0).save(images / "really-a-png.jpg", "PNG")
    drawing.draw("Kiwi", 1).save(images / "no-suffix", "WEBP")
    (images / "notes.txt").write_text("no image")
    outcome = run(images.parent, include="{*.jpg,no-*}", components=1)
    assert outcome.manifest["images"] == {"listed": 2, "embedded": 2, "reused": 0, "failed": 0}


def test_no_image_at_all_is_nothing_to_do(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(NothingToDo, match="no file matches"):
        run(tmp_path / "images")


def test_earlier_results_are_refused_and_survive_a_failing_run(run: Runner, orchard: Path, tmp_path: Path) -> None:
    results = run(orchard).results
    before = sorted((path, path.stat().st_mtime_ns) for path in results.rglob("*"))
    with pytest.raises(SettingsError, match="not empty; give another folder, or --overwrite"):
        run(orchard)
    shutil.rmtree(tmp_path / "store" / "_delta_log")  # a run that dies in the middle: the table can't be read
    with pytest.raises(VergerError):
        run(orchard, overwrite=True)
    assert sorted((path, path.stat().st_mtime_ns) for path in results.rglob("*")) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": "nowhere"}, "--images .*: no such folder"),
        ({"results": "images/out"}, "inside --images"),
        ({"store": "images"}, "inside --images"),
        ({"results": "store/out"}, "one of --store and --results holds the other"),
        ({"store": "strange"}, "holds notes.txt and no Delta table"),
    ],
)
def test_locations_that_cannot_be_are_refused(
    run: Runner, tmp_path: Path, given: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "notes.txt").touch()
    with pytest.raises(SettingsError, match=message):
        run(Path(given.pop("images", "images")), **given)


def test_a_projection_of_an_earlier_run_fits_new_images(run: Runner, orchard: Path, tmp_path: Path) -> None:
    first = run(orchard)
    new = tmp_path / "new"
    drawing.orchard(new, 2)
    shutil.copy(orchard / "Kiwi" / "7.jpg", new / "Kiwi" / "again.jpg")
    given = {"store": str(tmp_path / "s2"), "results": str(tmp_path / "r2"), "projection": str(first.results)}

    outcome = run(new, transform=True, **given)

    assert outcome.manifest["images"]["listed"] == 17
    before, after = vectors(first.results), vectors(outcome.results)
    np.testing.assert_allclose(after["Kiwi/again.jpg"], before["Kiwi/7.jpg"], atol=1e-4)
    assert Projection.load(outcome.results).n == 64
    with pytest.raises(SettingsError, match="made from features of model"):
        run(new, transform=True, **given, exif=False, overwrite=True)


@pytest.fixture
def midway(orchard: Path, tmp_path: Path, weights: dict[str, object]) -> Iterator[subprocess.Popen[str]]:
    """A run of `verger` in a process of its own, which has made two commits of many."""
    store = tmp_path / "store"
    option = ["--untrained"] if "untrained" in weights else ["--weights", str(weights["weights"])]
    command = [Path(sys.executable).with_name("verger"), "run", "--images", orchard, "--store", store]
    command += ["--results", tmp_path / "results", "--components", "5", "--commit-every", "4", *option]
    words = [str(word) for word in command]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while len(list(store.glob("_delta_log/*.json"))) < 3:
            assert process.poll() is None, "the run was over before it could be ended"
            time.sleep(0.05)
        yield process


def test_a_killed_run_goes_on_from_its_last_commit(
    run: Runner, orchard: Path, tmp_path: Path, midway: subprocess.Popen[str]
) -> None:
    os.killpg(midway.pid, signal.SIGKILL)
    midway.communicate()

    outcome = run(orchard)

    images = outcome.manifest["images"]
    assert images["listed"] == 64 == images["embedded"] + images["reused"]
    assert 0 < images["reused"] < 64
    assert outcome.manifest["work"]["files_read"] == images["embedded"]
    alone = run(orchard, store=str(tmp_path / "fresh"), results=str(tmp_path / "alone"))
    assert_same(outcome.results, alone.results)


def test_a_run_that_is_told_to_end_leaves_the_store_to_the_next(tmp_path: Path, midway: subprocess.Popen[str]) -> None:
    midway.terminate()
    _, said = midway.communicate(timeout=60)
    assert midway.returncode == 143
    assert said.splitlines()[-1].startswith("verger: stopped; what was committed to the store is kept")
    assert (tmp_path / "store" / "_delta_log").exists()
    assert not (tmp_path / "store" / NAME).exists()
    assert list((tmp_path / "results").glob("*")) == []


def test_a_file_that_cannot_be_read_is_a_failure_with_a_reason(run: Runner, tmp_path: Path) -> None:
    images = tmp_path / "images" / "a"
    images.mkdir(parents=True)
    for number in range(3):
        drawing.draw("Kiwi", number).save(images / f"{number}.jpg")
    # A directory entry that lists as a file and can't be opened as one, even by root.
    Image.new("RGB", (5, 5)).save(images / "gone.jpg")
    outcome = run_while_deleting(run, images, "gone.jpg")
    assert outcome["images"] == {"listed": 4, "embedded": 3, "reused": 0, "failed": 1}
    assert outcome["failures"] == {"unreadable": 1}


def test_failures_of_another_folder_are_not_this_ones(run: Runner, orchard: Path, tmp_path: Path) -> None:
    """Not even those that their own folder's next run tries again."""
    limits: dict[str, Any] = {"max_bytes": 20_000, "overwrite": True}
    run(orchard, **limits)
    large = tmp_path / "large" / "a"
    large.mkdir(parents=True)
    drawing.draw("Kiwi", 1).save(large / "kiwi.bmp")
    with pytest.raises(TooManyFailed, match="too many bytes"):
        run(large, **limits)
    again = run(orchard, **limits)
    assert again.manifest["images"] == {"listed": 64, "embedded": 0, "reused": 64, "failed": 0}


def run_while_deleting(run: Runner, images: Path, name: str) -> dict[str, Any]:
    """A run during which a file disappears, between the listing and the reading."""
    embed = Features.embed

    def delete_first(self: Features, *arguments: Any) -> None:
        (images / name).unlink()
        embed(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Features, "embed", delete_first)
        return run(images.parent, max_failed="50%", components=1).manifest


def test_the_projection_is_saved_before_the_last_commit_is_over(
    run: Runner, orchard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, embed, save = Event(), Features.embed, mllib.save

    def embed_until_saved(self: Features, *given: Any) -> None:
        embed(self, *given)
        assert saved.wait(60)

    def told(*given: Any) -> None:
        save(*given)
        saved.set()

    monkeypatch.setattr(Features, "embed", embed_until_saved)
    monkeypatch.setattr(mllib, "save", told)
    outcome = run(orchard)
    assert Projection.load(outcome.results).n == outcome.manifest["images"]["embedded"]


def test_a_projection_that_is_not_saved_while_images_are_embedded_ends_the_run(
    run: Runner, orchard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(mllib, "save", full)
    with pytest.raises(OSError, match="no space left"):
        run(orchard)
    assert list((tmp_path / "results").iterdir()) == []
    monkeypatch.undo()
    assert run(orchard).manifest["images"]["reused"] == 64
