"""Folders where Spark is not involved: a local one and a prefix of a bucket, behind one small interface."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from verger.locations import Location

if TYPE_CHECKING:
    from verger.aws import Aws
    from verger.settings import Settings  # with pydantic, which workers need not import


class Folder(Protocol):
    """What a run asks of its locations. Names are relative, with `/` between their parts."""

    def is_file(self) -> bool:
        """Whether the location is a file: no folder can be there."""
        ...

    def names(self) -> Iterator[str]:
        """What lies directly in the folder; none when there is no folder."""
        ...

    def keys(self, under: str = "") -> Iterator[str]:
        """All files below a name that is a folder's, however deep; none when there is no folder."""
        ...

    def read(self, name: str) -> bytes | None:
        """A file's bytes, None for no such file."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Make a file, or replace it."""
        ...

    def delete(self, names: list[str]) -> None:
        """Delete files."""
        ...

    def assure(self, name: str) -> None:
        """A VergerError unless the file is encrypted as the settings ask."""
        ...

    def make(self) -> None:
        """Let the folder be there, for those who want to see one before they write to it."""
        ...

    def remove(self) -> None:
        """Delete the folder and all that is in it."""
        ...


@dataclass(frozen=True)
class LocalFolder:
    path: Path

    def is_file(self) -> bool:
        return self.path.is_file()

    def names(self) -> Iterator[str]:
        if self.path.is_dir():
            yield from (entry.name for entry in self.path.iterdir())

    def keys(self, under: str = "") -> Iterator[str]:
        for root, _, files in os.walk(self.path / under):
            yield from (Path(root, name).relative_to(self.path).as_posix() for name in files)

    def write(self, name: str, content: bytes) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_bytes(content)

    def delete(self, names: list[str]) -> None:
        for name in names:
            (self.path / name).unlink()

    def assure(self, name: str) -> None:
        """A disk's encryption is not a run's business."""

    def read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def make(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def clients(settings: Settings) -> Aws | None:
    """AWS's clients, when anything is in a bucket; a SettingsError when no region is known."""
    if not settings.s3:
        return None
    from verger.aws import Aws  # boto3 takes a third of a second, which local runs need not wait for

    return Aws.of(settings)


def folder(location: Location, aws: Aws | None) -> Folder:
    """The folder at a location; `aws` is there whenever any of a run's locations is in a bucket."""
    if location.is_local:
        return LocalFolder(location.local)
    assert aws is not None
    from verger.buckets import BucketFolder  # boto3: see above

    return BucketFolder.of(location, aws)
