"""Images from a list that somebody else made, read by real Spark from real files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from verger import drawing, inventory
from verger.errors import SettingsError
from verger.locations import Location

from tests.conftest import Runner
from tests.support import one_line
from tests.test_pipeline import assert_same

pytestmark = pytest.mark.spark

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
FRUITS = Location.parse("s3://fruits/test")


def written(file: Path, **columns: list[Any]) -> Location:
    pq.write_table(pa.table(columns), file)
    return Location.parse(str(file))


def paths(spark: SparkSession, manifest: Location, images: Location = FRUITS, include: str = "*") -> list[str]:
    return sorted(row.path for row in inventory.entries(spark, manifest, images, include).collect())


def plain(file: Path, given: list[str]) -> Location:
    return written(file, path=given, size=[7] * len(given), modified=[NOON] * len(given))


def listed(images: Path, file: Path) -> Location:
    """A manifest of what is in a folder now."""
    files = sorted(images.rglob("*.jpg"))
    times = [datetime.fromtimestamp(found.stat().st_mtime_ns // 1_000_000 / 1000, UTC) for found in files]
    return written(file, path=[str(found) for found in files], size=[f.stat().st_size for f in files], modified=times)


def test_an_inventory_is_read_without_its_old_versions_and_deleted_objects(spark: SparkSession, tmp_path: Path) -> None:
    keys = ["test/Kiwi/a.jpg", "test/Kiwi/a.jpg", "test/Kiwi/gone.jpg", "other/b.jpg", "test/Kiwi/"]
    manifest = written(
        tmp_path / "inventory.parquet",
        bucket=["fruits"] * 5,
        key=keys,
        size=[7, 8, None, 9, 0],
        last_modified_date=[NOON] * 5,
        is_latest=[True, False, True, True, True],
        is_delete_marker=[False, False, True, False, False],
    )
    rows = inventory.entries(spark, manifest, FRUITS, "*").collect()
    assert [(row.path, row.size) for row in rows] == [("s3a://fruits/test/Kiwi/a.jpg", 7)]


@pytest.mark.parametrize(
    ("given", "images", "path"),
    [
        ("s3://fruits/test/a b.jpg", "s3://fruits/test", "s3a://fruits/test/a b.jpg"),
        ("s3a://fruits/test/a.jpg", "s3://fruits/test", "s3a://fruits/test/a.jpg"),
        ("Kiwi/a.jpg", "s3://fruits/test", "s3a://fruits/test/Kiwi/a.jpg"),
        ("/data/a.jpg", "/data", "file:/data/a.jpg"),
        ("file:///data/a.jpg", "/data", "file:/data/a.jpg"),
        ("Kiwi/a.jpg", "/data", "file:/data/Kiwi/a.jpg"),
    ],
)
def test_paths_are_those_that_spark_gives_files(
    spark: SparkSession, tmp_path: Path, given: str, images: str, path: str
) -> None:
    assert paths(spark, plain(tmp_path / "m.parquet", [given]), Location.parse(images)) == [path]


def test_what_a_listing_would_leave_out_is_left_out(spark: SparkSession, tmp_path: Path) -> None:
    given = [
        "a.jpg",
        "b.png",
        "_c.jpg",
        ".d.jpg",
        "_hidden/e.jpg",
        "s3://elsewhere/test/f.jpg",
        "s3://fruits/tests/g.jpg",
    ]
    manifest = plain(tmp_path / "m.parquet", [*given, "a.jpg"])
    assert paths(spark, manifest) == ["s3a://fruits/test/a.jpg", "s3a://fruits/test/b.png"]
    assert paths(spark, manifest, include="*.{jpg,gif}") == ["s3a://fruits/test/a.jpg"]


def test_a_time_of_s3_has_no_parts_of_a_second(spark: SparkSession, tmp_path: Path) -> None:
    """A listing may tell them, and the object itself does not: the image would be another one."""
    exact = NOON.replace(microsecond=250_000)
    manifest = written(tmp_path / "m.parquet", path=["a.jpg", "/data/a.jpg"], size=[7, 7], modified=[exact, exact])
    assert [row.modified.microsecond for row in inventory.entries(spark, manifest, FRUITS, "*").collect()] == [0]
    local = inventory.entries(spark, manifest, Location.parse("/data"), "*").collect()
    assert {row.modified.microsecond for row in local} == {250_000}


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        ({"path": ["a"], "size": [1]}, ("has no column modified;", "path, size")),
        ({"bucket": ["a"], "key": ["b"], "size": [1]}, ("has no column last_modified_date;", "S3 Inventory's")),
    ],
)
def test_a_parquet_without_the_columns_is_one_line(
    spark: SparkSession, tmp_path: Path, columns: dict[str, list[Any]], parts: tuple[str, str]
) -> None:
    manifest = written(tmp_path / "m.parquet", **columns)
    with pytest.raises(SettingsError) as error:
        inventory.entries(spark, manifest, FRUITS, "*")
    one_line(error, "--manifest", *parts)


def test_a_manifest_that_is_not_there_is_one_line(run: Runner, orchard: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        run(orchard, manifest=str(tmp_path / "none.parquet"))
    one_line(error, "--manifest", "none.parquet", "give its file or folder")


def test_a_run_by_manifest_is_a_run_by_listing(run: Runner, orchard: Path, tmp_path: Path) -> None:
    by_listing = run(orchard, store=str(tmp_path / "s"), results=str(tmp_path / "r"))
    manifest = str(listed(orchard, tmp_path / "m.parquet"))

    by_manifest = run(orchard, manifest=manifest, commit_every=20)

    assert by_manifest.manifest["images"] == {"listed": 64, "embedded": 64, "reused": 0, "failed": 0}
    assert by_manifest.manifest["work"] == {"files_read": 64, "images_embedded": 64}
    assert_same(by_listing.results, by_manifest.results)
    again = run(orchard, overwrite=True)  # by listing: the same images are the same rows of the store
    assert again.manifest["work"] == {"files_read": 0, "images_embedded": 0}


def test_what_the_manifest_has_and_the_folder_has_no_more_is_a_failure(run: Runner, tmp_path: Path) -> None:
    images = tmp_path / "images"
    drawing.orchard(images, 2)
    manifest = str(listed(images, tmp_path / "m.parquet"))
    (images / "Kiwi" / "0.jpg").unlink()
    (images / "Plum" / "1.jpg").write_bytes(b"another size")
    drawing.draw("Kiwi", 9).save(images / "Kiwi" / "new.jpg")

    outcome = run(images, manifest=manifest, max_failed="50%")

    assert outcome.manifest["images"] == {"listed": 16, "embedded": 14, "reused": 0, "failed": 2}
    failures = (outcome.results / "failures.csv").read_text()
    assert failures.count("unreadable: the file could not be read, or changed or was deleted") == 2
    assert "Kiwi/0.jpg" in failures
    assert "Plum/1.jpg" in failures
