from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from verger.errors import SettingsError
from verger.prices import TABLE, Prices
from verger.residency import EU

from tests.support import one_line


def test_the_table_has_every_region_of_the_eu_and_says_where_each_figure_is_from() -> None:
    prices = Prices.load(None)
    assert set(prices.regions) == set(EU)
    told = yaml.safe_dump(yaml.safe_load(TABLE.read_text())["regions"]["eu-north-1"])
    assert told.count("source:") == told.count("date:") == told.count("usd:") == 7
    assert "s3_reads (from memory)" in prices.of("eu-north-1").stand_ins()
    assert not [name for name in prices.of("eu-central-1").stand_ins() if name.startswith(("s3", "on_demand"))]


@pytest.mark.parametrize("region", ["eu-west-2", None])
def test_a_region_without_prices_is_one_line(region: str | None) -> None:
    with pytest.raises(SettingsError) as error:
        Prices.load(None).of(region)
    one_line(error, f"--region {region or 'is missing'}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"euro": {"usd": 0, "date": "2026-10-30", "source": "x"}}, "euro.usd: input should be greater than 0"),
        ({"regions": {"eu-west-3": {}}}, "regions.eu-west-3.emr_vcpu_hour: field required"),
        ({"discount": 3}, "discount: extra inputs are not permitted"),
    ],
)
def test_a_table_that_is_wrong_is_one_line(tmp_path: Path, change: dict[str, object], said: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(TABLE.read_text()) | change))
    with pytest.raises(SettingsError) as error:
        Prices.load(file)
    one_line(error, f"--prices {file}", said)


def test_a_table_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        Prices.load(tmp_path / "none.yaml")
    one_line(error, "--prices", "No such file")
