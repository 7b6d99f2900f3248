"""Files from the network: one retry policy, a progress bar, never a half-written file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import urllib3

from verger.errors import VergerError

RETRIES = urllib3.Retry(total=3, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
TIMEOUT = urllib3.Timeout(connect=10, read=60)
CHUNK = 1 << 20

Tell = Callable[[str, int, int], None]  # name, bytes done, bytes in all (0: unknown)


class DownloadError(VergerError):
    """A file that could not be fetched, or is not the one that was asked for."""


def fetch(url: str, target: Path, *, sha256: str | None = None, tell: Tell | None = None) -> Path:
    """Download `url` to `target`, atomically; with `sha256`, anything else is refused.

    Raises DownloadError after the last retry, or for other bytes than the pinned ones.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        digest = _stream(url, target.name, partial, tell)
        if sha256 is not None and digest != sha256:
            raise DownloadError(f"{url}: sha256 {digest} is not the pinned {sha256}; the file was changed on its way")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _stream(url: str, name: str, target: Path, tell: Tell | None) -> str:
    digest = hashlib.sha256()
    pool = urllib3.PoolManager(retries=RETRIES, timeout=TIMEOUT)
    try:
        with pool.request("GET", url, preload_content=False) as answer, target.open("wb") as file:
            if answer.status != 200:
                raise DownloadError(f"{url}: HTTP {answer.status}; check the network or put the file there by hand")
            total, done = int(answer.headers.get("content-length", 0)), 0
            for chunk in answer.stream(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                if tell is not None:
                    tell(name, done, total)
            if total and done != total:
                raise DownloadError(f"{url}: {done} of {total} bytes came; try again")
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"{url}: no answer ({type(reason).__name__}); check the network") from error
    return digest.hexdigest()
