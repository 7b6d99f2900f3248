"""Real images, real weights: the figures that the notebook printed, and MLlib's on this copy of the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession
from verger import session
from verger.launch import Launch
from verger.locations import Location
from verger.settings import Settings

from tests.conftest import Runner
from tests.test_pipeline import assert_same, assert_same_but_for_gaps

pytestmark = [pytest.mark.spark, pytest.mark.real, pytest.mark.main]


def features(store: Path) -> dict[str, list[float]]:
    """The store's features by Fruit/file.jpg."""
    spark: SparkSession = session.start(Launch(Settings.load()))
    table = spark.read.format("delta").load(Location.parse(str(store)).uri)
    rows = table.where("status = 'embedded'").select("path", "features").collect()
    spark.stop()
    return {"/".join(row.path.split("/")[-2:]): row.features for row in rows}


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_features_are_the_notebooks(run: Runner, real_images: Path, tmp_path: Path, engine: str) -> None:
    (tmp_path / "fruit").mkdir()
    (tmp_path / "fruit" / "Pineapple").symlink_to(real_images / "Pineapple")
    run(tmp_path / "fruit", engine=engine)
    found = features(tmp_path / "store")
    assert found["Pineapple/24_100.jpg"][0] == 0.0
    assert found["Pineapple/24_100.jpg"][1] == pytest.approx(4.10719, abs=5e-5)
    assert found["Pineapple/197_100.jpg"][1] == pytest.approx(3.66763, abs=5e-5)
    values = np.array(list(found.values()))
    assert (values.shape[1], values.min() >= 0, values.max() <= 6) == (1280, True, True)


def test_three_fruits_explain_what_mllib_says_whatever_the_cut_and_the_engine(
    run: Runner, three_fruits: Path, tmp_path: Path
) -> None:
    one = run(three_fruits, components=100)
    assert one.manifest["images"]["listed"] == 496
    assert one.manifest["explained_variance"]["sum"] == pytest.approx(0.92574579, abs=1e-6)
    cut, engine = {"partitions": 13, "commit_every": 200}, {"engine": "tensorflow"}
    for given, assert_equal in ((cut, assert_same), (engine, assert_same_but_for_gaps)):
        places = {"store": str(tmp_path / next(iter(given))), "results": str(tmp_path / f"r-{next(iter(given))}")}
        other = run(three_fruits, components=100, **places, **given)
        assert other.manifest["explained_variance"]["sum"] == pytest.approx(0.92574579, abs=1e-6)
        assert_equal(one.results, other.results)


def test_all_24_fruits_explain_what_mllib_says(run: Runner, real_images: Path) -> None:
    outcome = run(real_images, components=100)
    assert outcome.manifest["images"] == {"listed": 4207, "embedded": 4207, "reused": 0, "failed": 0}
    assert outcome.manifest["work"] == {"files_read": 4207, "images_embedded": 4207}
    assert outcome.manifest["explained_variance"]["sum"] == pytest.approx(0.84045366, abs=1e-5)
