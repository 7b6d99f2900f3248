"""The store: a Delta table, one row an image, and the ledger of what is known."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
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
        return self._of_model(self.spark.read.format("delta").load(self.location.uri))

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

    def made(self) -> DataFrame | None:
        """The rows of a store that this run has made by a few appends, as its log names them; None leaves it to Delta.

        Delta puts a table together by a query over its log: cold, that takes two seconds, as long as all results.
        """
        actions = [action for name in self._log() for action in self._actions(name)]
        if not all(map(_plain, actions)):
            return None
        # By names, not by paths: of files in a folder called fruits[2], Spark would read each once for each path.
        files = ",".join(unquote(action["add"]["path"]) for action in actions if "add" in action)
        reader = (
            self.spark.read.schema(SCHEMA).option("__globPaths__", "false").option("pathGlobFilter", f"{{{files}}}")
        )
        return self._of_model(reader.parquet(self.location.uri))

    def assure(self) -> None:
        """A VergerError unless the newest commit, its data and its log, is encrypted as the settings ask."""
        newest = self._log()[-1]
        added = [action["add"]["path"] for action in self._actions(newest) if "add" in action]
        for name in (newest, *map(unquote, added)):
            self.folder.assure(name)

    def _of_model(self, table: DataFrame) -> DataFrame:
        return table.select(*COLUMNS).where(F.col("model") == self.model)

    def _log(self) -> list[str]:
        """The log's files, a commit each, in their order."""
        return sorted(name for name in self.folder.keys(f"{LOG}/") if re.fullmatch(rf"{LOG}/\d+\.json", name))

    def _actions(self, commit: str) -> list[dict[str, Any]]:
        """What a commit did (https://github.com/delta-io/delta/blob/master/PROTOCOL.md#actions)."""
        return [json.loads(line) for line in (self.folder.read(commit) or b"").decode().splitlines()]

    def of(self, listing: DataFrame | None) -> DataFrame:
        """The rows of a listing's images; None means every row of this model."""
        rows = self.rows()
        return rows if listing is None else rows.join(listing.select(*KEY), on=KEY, how="left_semi")


def _plain(action: dict[str, Any]) -> bool:
    """Whether the folder's files alone say what was done: no row was taken back, no column has another name in them.

    Of an append of ours that may be untrue where a cluster's defaults for Delta compact tables or map columns.
    """
    add, table = action.get("add", {}), action.get("metaData", {})
    elsewhere = "/" in add.get("path", "")
    return not ("remove" in action or elsewhere or add.get("deletionVector") or table.get("configuration"))


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
