"""Results in a bucket: nothing of a run is to be seen at its place until all of it is complete.

Spark writes below a hidden prefix, through the magic committer. What the driver writes, and what it reads of Spark's
files to make the CSV, goes up as uploads that `publish` completes within moments of each other. Nothing is renamed,
which S3 can't, and nothing is copied within the bucket.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from verger.buckets import BucketFolder
from verger.errors import SettingsError, VergerError
from verger.locations import Location
from verger.results import ASIDE, MANIFEST, PARQUET, Results
from verger.uploads import Uploads

MAGIC = "/__magic"  # folders that S3A's committer works in, and deletes


@dataclass(frozen=True)
class BucketResults(Results):
    """The results of one run below a prefix. `scratch` is a local folder, for what is small; it is made when needed."""

    location: Location
    bucket: BucketFolder
    run: str
    overwrite: bool
    scratch: Path
    uploads: Uploads = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "uploads", Uploads(self.bucket))

    @property
    def aside(self) -> Path:
        return self.scratch / "aside"

    @property
    def _hidden(self) -> str:
        return f"{ASIDE}{self.run}"

    def refuse_earlier(self) -> None:
        if not self.overwrite and any(not name.startswith(ASIDE) for name in self.bucket.names()):
            raise SettingsError(f"--results {self.location}: not empty; give another folder, or --overwrite")

    def spark(self, name: str) -> Location:
        return self.location / self._hidden / name

    @contextmanager
    def open(self, name: str) -> Iterator[TextIO]:
        with self.uploads.open(name) as upload:
            file = io.TextIOWrapper(io.BufferedWriter(upload, 1 << 20), encoding="utf-8", newline="")
            yield file
            file.flush()
            file.detach().detach()  # closed, they would close the upload, whose end is `complete`

    def parts(self) -> Iterator[Path]:
        """Each part is brought here once: for the CSV, and to be uploaded to its place."""
        for name in self._spark_wrote(PARQUET):
            part = self.bucket.fetch(f"{self._hidden}/{name}", self.scratch / Path(name).name)
            if part.name.startswith("part-"):
                yield part
            self._upload(part, name)
            part.unlink()

    def publish(self) -> None:
        """Complete all uploads, the manifest's last; without --overwrite, only into an empty place.

        Earlier results lose their manifest first: a place without run.json is not complete. What can fail for long has
        been done by then.
        """
        for file in sorted(self.aside.rglob("*")):
            if file.is_file():
                self._upload(file, file.relative_to(self.aside).as_posix())
        for name in self._spark_wrote(""):
            if not name.startswith(f"{PARQUET}/"):
                self._upload(self.bucket.fetch(f"{self._hidden}/{name}", self.scratch / "one"), name)
        self.refuse_earlier()
        new = {upload.name for upload in self.uploads.pending}
        earlier = [name for name in self.bucket.keys("") if not name.startswith(ASIDE)]
        self.bucket.delete([name for name in earlier if name == MANIFEST])
        self.uploads.complete(last=MANIFEST, before_last=lambda: self._delete(earlier, new))

    def discard(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.uploads.abort()
        self.bucket.delete(list(self.bucket.keys(self._hidden)))

    def _delete(self, earlier: list[str], new: set[str]) -> None:
        self.bucket.delete([name for name in earlier if name not in new and name != MANIFEST])

    def _spark_wrote(self, name: str) -> list[str]:
        """What Spark wrote aside, by the names that it shall have."""
        keys = list(self.bucket.keys(f"{self._hidden}/{name}"))
        if (left := next((key for key in keys if MAGIC in key), None)) is not None:
            raise VergerError(
                f"{self.location}: {left} is still there, which Spark's committer deletes; let this run's role do "
                "DeleteObject"
            )
        return sorted(key.removeprefix(f"{self._hidden}/") for key in keys if not key.endswith("/"))

    def _upload(self, file: Path, name: str) -> None:
        with file.open("rb") as source, self.uploads.open(name) as target:
            shutil.copyfileobj(source, target, 1 << 20)
