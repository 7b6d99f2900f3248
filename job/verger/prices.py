"""What AWS asks for, by region: a dated table in a file, which the user can replace (`--prices`)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from verger import yaml_file
from verger.errors import SettingsError

TABLE = Path(__file__).with_name("prices.yaml")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Figure(_Entry):
    """A number has the day that it is of, and where it was read or who measured it."""

    date: date
    source: str = Field(min_length=1)


class Price(_Figure):
    """US dollars."""

    usd: float = Field(ge=0)
    stand_in: str | None = None  # whose price it is, where the region's own was not found


class Rate(_Figure):
    seconds: float = Field(ge=0)


class Rates(_Entry):
    """What the time of a run is estimated from."""

    image: Rate  # of one core, for an image
    start: Rate  # of a run without images
    request: Rate  # until S3 answers


class Euro(_Figure):
    usd: float = Field(gt=0)  # for one euro


class Node(_Entry):
    """An hour of an EC2 instance."""

    instance: str
    vcpu: float = Field(gt=0)
    gb: float = Field(gt=0)
    on_demand: Price
    spot: Price


class Region(_Entry):
    """The prices of one region: of hours, and of a thousand requests to S3."""

    emr_vcpu_hour: Price
    emr_gb_hour: Price
    eks_hour: Price
    node: Node
    s3_writes: Price  # PUT, COPY, POST, LIST
    s3_reads: Price  # GET, HEAD and the rest; DELETE is free

    def stand_ins(self) -> Iterator[str]:
        """`emr_vcpu_hour (us-west-2's)`, for each price that is not the region's own."""
        named = [(name, getattr(self, name)) for name in Region.model_fields if name != "node"]
        named += [("on_demand", self.node.on_demand), ("spot", self.node.spot)]
        yield from (f"{name} ({price.stand_in})" for name, price in named if price.stand_in is not None)


class Prices(_Entry):
    """The whole table."""

    date: date
    euro: Euro
    rates: Rates
    regions: dict[str, Region] = Field(min_length=1)

    @classmethod
    def load(cls, file: Path | None) -> Prices:
        """The table of a file, else Verger's own; a SettingsError says what is wrong with it.

        Keys that begin with a dot are the file's own, to be referred to.
        """
        content = yaml_file.mapping("--prices", file or TABLE)
        try:
            return cls(**{key: value for key, value in content.items() if not str(key).startswith(".")})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise SettingsError(
                f"--prices {file or TABLE}: {where}: {first['msg'][0].lower()}{first['msg'][1:]}; see docs/cost.md"
            ) from error

    def of(self, region: str | None) -> Region:
        """The prices of a region; a SettingsError for one that is not in the table."""
        if region is None:
            raise SettingsError("--region is missing; give the region whose prices count, or set AWS_REGION")
        if region not in self.regions:
            raise SettingsError(
                f"--region {region}: the prices of {self.date} are for {', '.join(sorted(self.regions))}; add it to a "
                "table of your own, and give that by --prices"
            )
        return self.regions[region]
