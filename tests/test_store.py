"""The store's rows, by Delta and by the log of the run that made it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pyspark.sql import Row, SparkSession
from verger.locations import Location
from verger.storage import LocalFolder
from verger.store import SCHEMA, Store

pytestmark = pytest.mark.spark
MODEL = "mobilenetv2-0"


@pytest.fixture
def store(spark: SparkSession, tmp_path: Path) -> Store:
    """A new store of two appends, in a folder whose name URLs and globs would take for something else."""
    return new(spark, tmp_path / "fruits[2] 100%20 é")


def new(spark: SparkSession, folder: Path) -> Store:
    store = Store(spark, Location.parse(str(folder)), LocalFolder(folder), MODEL)
    store.create()
    for number in range(2):
        append(store, number)
    return store


def append(store: Store, number: int, model: str = MODEL) -> None:
    """Add four rows of a model."""
    given = {
        "path": f"concat('file:/{number}/', id)",
        "size": "id",
        "features": "array(float(id))",
        "model": f"'{model}'",
        "status": "'embedded'",
    }
    kinds = (column.split(maxsplit=1) for column in SCHEMA.split(", "))
    values = (f"CAST({given.get(name, 'NULL')} AS {kind}) AS {name}" for name, kind in kinds)
    store.append(store.spark.range(4).selectExpr(*values))


def found(store: Store) -> tuple[list[Row], list[Row] | None]:
    """The rows that Delta finds, and those that the log names."""
    made = store.made()
    return store.rows().orderBy("path").collect(), None if made is None else made.orderBy("path").collect()


def test_the_log_names_the_rows_that_delta_finds(store: Store) -> None:
    append(store, 2, model="another")
    killed = next(store.location.local.glob("*.parquet"))
    shutil.copy(killed, killed.with_name("part-of-a-killed-append.parquet"))
    by_delta, by_log = found(store)
    assert by_log == by_delta
    assert len(by_delta) == 8


def test_a_store_that_was_rewritten_is_left_to_delta(store: Store) -> None:
    store.spark.sql(f"DELETE FROM delta.`{store.location.uri}` WHERE size = 1")
    by_delta, by_log = found(store)
    assert len(by_delta) == 6
    assert by_log is None


def test_a_store_with_deletion_vectors_is_left_to_delta(store: Store) -> None:
    log = store.folder.path / store._log()[-1]  # type: ignore[attr-defined]
    log.write_text(log.read_text().replace('"dataChange"', '"deletionVector":{"storageType":"u"},"dataChange"'))
    assert store.made() is None


def test_a_store_whose_columns_are_mapped_is_left_to_delta(spark: SparkSession, tmp_path: Path) -> None:
    spark.conf.set("spark.databricks.delta.properties.defaults.columnMapping.mode", "name")
    by_delta, by_log = found(new(spark, tmp_path / "store"))
    assert len(by_delta) == 8
    assert by_log is None
