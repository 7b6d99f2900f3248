"""The settings of a run: command line, environment (VERGER_*) and YAML file, in that order.

The command line, the chart's schema and the manifest are all made from these fields: a new setting is one line here.
"""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from verger.engines import FEATURES, EngineName
from verger.errors import SettingsError
from verger.locations import Location
from verger.sources import Configured, Uri


def _share(text: str) -> str:
    if not re.fullmatch(r"\d+|\d+(\.\d+)?%", text):
        raise ValueError(f"{text}: neither a count nor a share; write 10 or 1%")
    return text


def _policies(value: Any) -> Any:
    """Text as the command line and the environment have it: `uk=eu-west-2;all=eu-west-2,eu-west-3`."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(";") if part.strip()]
    return {name.strip(): [region.strip() for region in regions.split(",")] for name, _, regions in pairs}


REGION = r"^[a-z]{2}(-[a-z]+)+-\d$"
Region = Annotated[str, Field(pattern=REGION)]
Share = Annotated[str, BeforeValidator(str), AfterValidator(_share)]


class _AwsEnvironment(PydanticBaseSettingsSource):
    """The region that AWS's own tools would take: what IRSA, Pod Identity and EMR put into the environment."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError("there is one field: see __call__")

    def __call__(self) -> dict[str, Any]:
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return {"region": region} if region else {}


class Settings(Configured):
    """What one run does. Frozen: built once by `load`, then only passed on."""

    model_config = SettingsConfigDict(env_prefix="VERGER_")
    beside: ClassVar[tuple[type[PydanticBaseSettingsSource], ...]] = (_AwsEnvironment,)

    images: Uri | None = Field(None, description="Folder of images, read recursively; the parent folder is the label.")
    store: Uri | None = Field(None, description="Delta table of features, one row an image; made when missing.")
    results: Uri | None = Field(None, description="Where Parquet, CSV, projection and manifest go.")
    projection: Uri | None = Field(None, description="The projection/ folder of an earlier run, or that run's results.")
    manifest: Uri | None = Field(
        None, description="Parquet that lists the images, such as an S3 Inventory; --images is not listed then."
    )
    region: Region | None = Field(None, description="Region of the buckets; else AWS_REGION.")
    residency: str = Field("eu", min_length=1, description="Where data may be: eu, or one of --policies.")
    policies: Annotated[dict[str, tuple[Region, ...]], NoDecode, BeforeValidator(_policies)] = Field(
        {}, description="Other policies of residency and their regions: 'uk=eu-west-2;...'."
    )
    endpoint: str | None = Field(None, pattern=r"^https?://[^/]+$", description="S3 server that is not AWS's own.")
    attest_region: Region | None = Field(None, description="Region that --endpoint is in: nobody but you can know.")
    allow_http: bool = Field(False, description="Let --endpoint be plain http: for tests.")
    allow_static_keys: bool = Field(False, description="Let AWS keys that never expire be used: for tests.")
    kms_key: str | None = Field(
        None,
        pattern=r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/.+$",
        description="KMS key (arn:aws:kms:...:key/...) that encrypts what is written; what was written is checked.",
    )
    s3a: Literal["own", "emr"] = Field(
        "own", description="Whose S3A and Delta the run has: Verger's, or EMR's, whose settings it then leaves alone."
    )
    event_log: Uri | None = Field(None, description="Folder of Spark's event log, for its history server; else none.")
    container_image: str | None = Field(None, description="Image that this runs in: an ECR one must be in the region.")
    components: int = Field(100, ge=1, le=FEATURES, description="Principal components to keep.")
    engine: EngineName = Field("openvino", description="What computes the features.")
    weights: Path | None = Field(None, description="Keras MobileNetV2 no-top weights (.h5); else cached or downloaded.")
    untrained: bool = Field(False, description="Run with random weights: to try the job, never for real features.")
    overwrite: bool = Field(False, description="Replace what is in RESULTS, once the new results are complete.")
    include: str = Field("*", min_length=1, description="File names to take, as a glob: '*.{jpg,png}'.")
    exif: bool = Field(True, description="Turn images as their EXIF orientation says.")
    max_failed: Share = Field("1%", description="Failed images allowed, as a count or a share; more is exit code 4.")
    max_bytes: int = Field(64 << 20, ge=1, le=1 << 30, description="Largest image file, in bytes.")
    max_pixels: int = Field(100_000_000, ge=1, description="Largest image, in pixels (decompression bombs).")
    commit_every: int | None = Field(None, ge=1, description="Images a commit; else about a minute's work.")
    partitions: int | None = Field(None, ge=1, description="Tasks an image batch is cut into; else planned.")
    master: str = Field("local[*]", min_length=1, description="Spark master, when not started by spark-submit.")
    executors_within: int = Field(
        600, ge=1, description="Seconds that work may wait on Kubernetes with no executor to do it; then the run ends."
    )
    driver_memory: str = Field("2g", pattern=r"^\d+[mg]$", description="Heap of a local run's JVM.")
    cache: Path = Field(
        Path("~/.cache/verger"), description="Folder of jars, weights, converted graphs and logs of this machine."
    )
    scratch: Path | None = Field(
        None, description="Folder of what runs write on this machine, such as logs; else the cache."
    )
    prices: Path | None = Field(
        None, description="YAML file of prices and rates for estimates of cost; else Verger's own."
    )
    verbose: bool = Field(False, description="Tracebacks with errors.")
    config: Path | None = Field(None, description="YAML file with any of these settings.")

    @model_validator(mode="before")
    @classmethod
    def _attested(cls, given: dict[str, Any]) -> dict[str, Any]:
        """A server of one's own is asked by the region that it is attested to be in."""
        return given if given.get("region") else {**given, "region": given.get("attest_region")}

    def location(self, name: str) -> Location:
        """The location setting `name`, which the command can't do without."""
        text = getattr(self, name)
        if text is None:
            raise SettingsError(f"--{name} is missing; give it, or set VERGER_{name.upper()}")
        return Location.parse(text)

    @property
    def s3(self) -> bool:
        """Whether anything is in a bucket."""
        return any(not place.is_local for place in self.places.values())

    @property
    def places(self) -> dict[str, Location]:
        """The locations that are given, by the names of their settings."""
        names = ("images", "manifest", "store", "results", "projection", "event_log")
        return {name: Location.parse(value) for name in names if (value := getattr(self, name)) is not None}

    @property
    def cache_dir(self) -> Path:
        return self.cache.expanduser().absolute()

    @property
    def scratch_dir(self) -> Path:
        return (self.scratch or self.cache).expanduser().absolute()

    def failed_allowed(self, listed: int) -> int:
        """How many of `listed` images may fail before the run does."""
        if self.max_failed.endswith("%"):
            return int(listed * Fraction(self.max_failed[:-1]) / 100)
        return int(self.max_failed)
