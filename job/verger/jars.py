"""The jars beside PySpark's own: pinned by sha256 in image/jars.lock, fetched once, kept in the cache."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from verger import downloads
from verger.errors import VergerError

LOCK = Path(__file__).with_name("jars.lock")
CENTRAL = "https://repo1.maven.org/maven2"


@dataclass(frozen=True)
class Jar:
    """One artifact of Maven Central, `group:name:version`, for one Spark version (`4.1`)."""

    spark: str
    coordinate: str
    sha256: str

    @property
    def is_s3(self) -> bool:
        """Whether only S3A needs it: runs without a bucket start faster without."""
        return not self.coordinate.startswith("io.delta:")

    @property
    def file(self) -> str:
        _, name, version = self.coordinate.split(":")
        return f"{name}-{version}.jar"

    @property
    def url(self) -> str:
        group, name, version = self.coordinate.split(":")
        return f"{CENTRAL}/{group.replace('.', '/')}/{name}/{version}/{self.file}"


def locked(spark_version: str, s3: bool = False) -> list[Jar]:
    """The jars for a Spark version (`4.1.2`), in classpath order, S3A's on demand; none known is a VergerError."""
    lines = [line.split() for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    series = ".".join(spark_version.split(".")[:2])
    found = [Jar(*line) for line in lines if line[0] == series]
    if not found:
        known = ", ".join(sorted({line[0] for line in lines}))
        raise VergerError(f"PySpark {spark_version}: no jars are pinned for it; install one of {known}")
    if s3 and not any(jar.is_s3 for jar in found):
        raise VergerError(
            f"PySpark {spark_version}: no S3A jars are pinned for it; buckets need PySpark 4.1, or EMR's own"
        )
    return [jar for jar in found if s3 or not jar.is_s3]


def ensure(spark_version: str, cache: Path, tell: downloads.Tell | None = None, s3: bool = False) -> list[Path]:
    """The locked jars as files of the cache; those missing or changed are fetched."""
    return [fetched(jar, cache, tell) for jar in locked(spark_version, s3)]


def fetched(jar: Jar, cache: Path, tell: downloads.Tell | None = None) -> Path:
    """A jar as a file of the cache; fetched when it is missing or changed."""
    file = cache / "jars" / jar.file
    if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == jar.sha256:
        return file
    return downloads.fetch(jar.url, file, sha256=jar.sha256, tell=tell)
