"""The store: a Delta table, one row an image, and the ledger of what is known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import unquote

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from verger.catalog import AGAIN, KEY
from verger.errors import SettingsError
from verger.lease import NAME as LEASE
from verger.locations import Location
from verger.storage import Folder

SCHEMA = (
    "path string, label string, size bigint, modified timestamp, sha256 string, width int, height int, format string, "
    "status string, reason string, model string, features array<float>, run string"
)
LOG = "_delta_log"
COLUMNS = [column.split()[0] for column in SCHEMA.split(", ")]
# Failures that may be over by the next run (or under other limits): known ones are tried again.
PASSING = "unreadable|too many bytes|too many pixels"


@dataclass(frozen=True)
class Store:
    """Usage: Store(spark, location, folder, model).append(rows)"""

    spark: SparkSession
    location: Location
    folder: Folder
    model: str

    def exists(self) -> bool:
        return LOG in self.folder.names()

    def create(self) -> None:
        """An empty table: two first appends at a time would each want to be its beginning."""
        columns = (column.split(maxsplit=1) for column in SCHEMA.split(", "))
        self.append(self.spark.range(0).selectExpr(*(f"CAST(NULL AS {kind}) AS {name}" for name, kind in columns)))

    def rows(self) -> DataFrame:
        """The rows of this model, whole."""
        table = self.spark.read.format("delta").load(self.location.uri)
        return table.select(*COLUMNS).where(F.col("model") == self.model)

    def known(self) -> DataFrame:
        """KEY and status of the images that there are rows of; AGAIN for those that need a second look."""
        status = F.when(F.col("reason").rlike(f"^({PASSING})"), F.lit(AGAIN)).otherwise(F.col("status"))
        return self.rows().select(*KEY, status.alias("status"))

    def forget_passing_failures(self) -> None:
        """Delete the failures that are tried again, so that an image keeps one row."""
        self.spark.sql(
            f"DELETE FROM delta.`{self.location.uri}` "
            f"WHERE model = '{self.model}' AND status = 'failed' AND reason RLIKE '^({PASSING})'"
        )

    def append(self, rows: DataFrame) -> None:
        """Add rows in one atomic commit."""
        rows.select(*COLUMNS).write.format("delta").mode("append").save(self.location.uri)

    def assure(self) -> None:
        """A VergerError unless the newest commit, its data and its log, is encrypted as the settings ask."""
        log = max(name for name in self.folder.keys(f"{LOG}/") if name.endswith(".json"))
        lines = (self.folder.read(log) or b"").decode().splitlines()
        added = [action["add"]["path"] for line in lines if "add" in (action := json.loads(line))]
        for name in (log, *map(unquote, added)):
            self.folder.assure(name)

    def of(self, listing: DataFrame | None) -> DataFrame:
        """The rows of a listing's images; None means every row of this model."""
        rows = self.rows()
        return rows if listing is None else rows.join(listing.select(*KEY), on=KEY, how="left_semi")


def refuse_foreign(location: Location, folder: Folder) -> None:
    """A SettingsError when the folder holds something that is not a store."""
    if folder.is_file():
        raise SettingsError(f"--store {location}: a file; give a folder")
    names = set(folder.names())
    strangers = [name for name in names if not name.startswith(LEASE.split(".")[0])]
    if strangers and LOG not in names:
        raise SettingsError(
            f"--store {location}: holds {sorted(strangers)[0]} and no Delta table; give an empty folder or a store"
        )
