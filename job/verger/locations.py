"""Where things are: a local folder or a place in a bucket, under one normal form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from verger.errors import SettingsError

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):(//)?")
HIDDEN = "(^|/)[._]"  # in a name below a folder: what Spark's file sources leave out; for Java and Python alike


@dataclass(frozen=True)
class Location:
    """A folder named by the user: `scheme` is `file` or `s3a`, `path` has no trailing slash.

    Usage: Location.parse("s3://fruits/test"), Location.parse("~/images")
    """

    scheme: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Location:
        """Read a local path, `file://`, `s3://` or `s3a://`; anything else is a SettingsError."""
        if not text.strip():
            raise SettingsError("a location is empty; give a folder or s3://bucket/prefix")
        match = _SCHEME.match(text)
        if match is None:
            return cls("file", _absolute(text))
        scheme, rest = match[1].lower(), text[match.end() :]
        if scheme == "file":
            # As Hadoop reads it: what follows is a path; only file:// is a URL with escapes.
            path = unquote(rest) if match[2] else rest
            if not path.startswith("/"):
                raise SettingsError(f"{text}: a file: location needs an absolute path; write file:///folder")
            return cls("file", _absolute(path))
        if scheme in ("s3", "s3a"):
            bucket_and_key = rest.rstrip("/")
            if not bucket_and_key or bucket_and_key.startswith("/"):
                raise SettingsError(f"{text}: no bucket; write s3://bucket/prefix")
            return cls("s3a", bucket_and_key)
        raise SettingsError(f"{text}: unknown scheme {scheme}:; use a local folder, file:// or s3://")

    @property
    def uri(self) -> str:
        """The form that Hadoop and Spark take, unescaped."""
        return f"file:{self.path}" if self.scheme == "file" else f"s3a://{self.path}"

    @property
    def is_local(self) -> bool:
        return self.scheme == "file"

    @property
    def local(self) -> Path:
        """The local folder; a SettingsError for a bucket."""
        if not self.is_local:
            raise SettingsError(f"{self}: a bucket; only a local folder will do here")
        return Path(self.path)

    def holds(self, other: Location) -> bool:
        """Whether `other` is this folder or lies in it."""
        return self.scheme == other.scheme and f"{other.path}/".startswith(f"{self.path.rstrip('/')}/")

    def __truediv__(self, name: str) -> Location:
        return Location(self.scheme, f"{self.path.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.path if self.is_local else f"s3://{self.path}"


def _absolute(path: str) -> str:
    """The absolute path, with one leading slash: two would make a host of the first name."""
    try:
        return "/" + str(Path(path).expanduser().absolute()).lstrip("/")
    except RuntimeError as error:  # ~nobody
        raise SettingsError(f"{path}: {error}; give the folder's whole path") from error
