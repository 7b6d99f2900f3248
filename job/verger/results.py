"""What a run leaves: written aside, then moved into place, so that a failed run never touches earlier results."""

from __future__ import annotations

import csv
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from verger import cost
from verger.errors import SettingsError
from verger.locations import Location

PARQUET, CSV, PROJECTION, FAILURES, MANIFEST = "pca.parquet", "results.csv", "projection", "failures.csv", "run.json"
ASIDE = ".verger-"  # hidden: neither Spark nor the check for earlier results sees it
ROWS = 4096  # of a CSV written at a time


class Results(ABC):
    """The results of one run: written aside, where nobody looks, until `publish` puts them into place."""

    location: Location

    @property
    @abstractmethod
    def aside(self) -> Path:
        """The local folder for what is written as files."""

    @abstractmethod
    def refuse_earlier(self) -> None:
        """A SettingsError when there is something in the place and --overwrite was not given."""

    @abstractmethod
    def spark(self, name: str) -> Location:
        """Where Spark writes `name`."""

    @abstractmethod
    def open(self, name: str) -> AbstractContextManager[TextIO]:
        """A text file of the results, to be written."""

    @abstractmethod
    def parts(self) -> Iterator[Path]:
        """The files of the Parquet, in their order; each is used before the next is asked for."""

    @abstractmethod
    def publish(self) -> None:
        """Put the results into place, the manifest last: what has a run.json is complete."""

    @abstractmethod
    def discard(self) -> None:
        """Remove what an unfinished run wrote aside; after `publish` there is nothing left to do."""

    def write_parquet(self, rows: DataFrame) -> None:
        rows.write.mode("overwrite").parquet(self.spark(PARQUET).uri)

    def write_csv(self) -> int:
        """results.csv from the Parquet, a batch at a time: the notebook's columns, features as [a,b,...].

        Returns how many images it holds.
        """
        images = 0
        with self.open(CSV) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["path", "label", "pcaFeatures"])
            for batch in self._batches():
                features = batch.column("pcaFeatures").cast(pa.list_(pa.string()))
                texts = (f"[{text}]" for text in pc.binary_join(features, ",").to_pylist())
                paths, labels = batch.column("path").to_pylist(), batch.column("label").to_pylist()
                writer.writerows(zip(paths, labels, texts, strict=True))
                images += batch.num_rows
        return images

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """The Parquet's rows, in the order of its files."""
        for part in self.parts():
            with pq.ParquetFile(part) as file:
                yield from file.iter_batches(batch_size=ROWS)

    def write_failures(self, rows: DataFrame | None) -> dict[str, int]:
        """failures.csv from the failed rows of a store, if there are any; returns how many for each kind of reason."""
        kinds: dict[str, int] = {}
        with self.open(FAILURES) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["path", "label", "size", "reason"])
            for row in _streamed(rows.select("path", "label", "size", "reason")) if rows is not None else ():
                writer.writerow(row)
                kind = row.reason.split(":")[0]
                kinds[kind] = kinds.get(kind, 0) + 1
        return kinds

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        with self.open(MANIFEST) as file:
            file.write(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class LocalResults(Results):
    """A folder. Everything is written to `aside`, a hidden folder in it; `publish` moves it into place."""

    folder: Path
    run: str
    overwrite: bool

    @property
    def location(self) -> Location:  # type: ignore[override]
        return Location("file", str(self.folder))

    @property
    def aside(self) -> Path:
        return self.folder / f"{ASIDE}{self.run}"

    def refuse_earlier(self) -> None:
        if self.folder.is_file():
            raise SettingsError(f"--results {self.folder}: a file; give a folder")
        if self.overwrite or not self.folder.is_dir():
            return
        if any(not entry.name.startswith(ASIDE) for entry in self.folder.iterdir()):
            raise SettingsError(f"--results {self.folder}: not empty; give another folder, or --overwrite")

    def spark(self, name: str) -> Location:
        return self.location / self.aside.name / name

    @contextmanager
    def open(self, name: str) -> Iterator[TextIO]:
        with (self.aside / name).open("w", newline="", encoding="utf-8") as file:
            yield file

    def parts(self) -> Iterator[Path]:
        yield from sorted((self.aside / PARQUET).glob("part-*"))

    def publish(self) -> None:
        """Each step is a rename; when one fails, the earlier results are put back."""
        self.refuse_earlier()
        old = self.aside / "replaced"
        old.mkdir()
        new = sorted((entry for entry in self.aside.iterdir() if entry != old), key=lambda e: e.name == MANIFEST)
        earlier = sorted(
            (entry for entry in self.folder.iterdir() if not entry.name.startswith(ASIDE)),
            key=lambda e: e.name != MANIFEST,
        )
        moves = [(entry, old / entry.name) for entry in earlier] + [(entry, self.folder / entry.name) for entry in new]
        done = []
        try:
            for source, target in moves:
                source.rename(target)
                done.append((source, target))
        except BaseException:  # Ctrl-C as well
            for source, target in reversed(done):
                target.rename(source)
            raise
        shutil.rmtree(self.aside)

    def discard(self) -> None:
        shutil.rmtree(self.aside, ignore_errors=True)


def _streamed(rows: DataFrame) -> Iterator[Any]:
    """Rows, a partition at a time."""
    return iter(rows.coalesce(1).toLocalIterator())


def summary(location: Location, manifest: dict[str, Any]) -> list[str]:
    """What a run tells at its end."""
    images, explained = manifest["images"], manifest["explained_variance"]
    counts = ", ".join(f"{images[name]:,} {name}" for name in ("embedded", "reused", "failed"))
    lines = [f"{images['listed']:,} images: {counts}"]
    if explained is not None:
        first = ", ".join(f"{share:.1%}" for share in explained["components"][:5])
        lines.append(
            f"explained variance of {len(explained['components'])} components: {explained['sum']:.8f} ({first}, ...)"
        )
    lines.append(f"{manifest['seconds']['total']:.1f} s, {manifest['images_per_second']:,.0f} images/s")
    first, *money = cost.lines(manifest["cost"])
    lines += [f"cost: {first}", *(f"  {line}" for line in money)]
    return [*lines, *(f"  {location / name}" for name in (PARQUET, CSV, PROJECTION, FAILURES, MANIFEST))]
