"""What earlier runs left on this machine, and when it goes: nothing else would ever take it away."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

DAY = 24 * 60 * 60  # seconds
RUN, DIGEST = r"\d{8}T\d{6}-[0-9a-f]{6}", r"[0-9a-f]{16}"  # the folder may be one that users keep things of theirs in
KEPT = (  # folder, names, and the days since what is so called was changed, or `used`
    ("logs", rf"{RUN}\.log", 30),
    ("results", RUN, 30),  # of runs that were killed: the others remove theirs
    ("jvm", rf"{DIGEST}\.(jsa|json)", 180),  # of versions that are gone; `verger prepare` makes them, some 200 MB
)


def used(file: Path) -> None:
    """Note that a file of the cache is in use; in an image, whose files are only read, none grows old."""
    with suppress(OSError):
        os.utime(file)


def tidy(*folders: Path) -> None:
    """Remove what is older than it is kept for. What can't be removed stays: no run depends on it."""
    for file in _old(*folders):
        with suppress(OSError):
            shutil.rmtree(file) if file.is_dir() else file.unlink()


def _old(*folders: Path) -> Iterator[Path]:
    now = time.time()
    for folder, (below, names, days) in product(folders, KEPT):
        for file in (folder / below).glob("*"):
            with suppress(OSError):  # another run has removed it
                if re.fullmatch(names, file.name) and now - file.stat().st_mtime > days * DAY:
                    yield file
