"""What earlier runs left: gone when it is old, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from verger import housekeeping, launch
from verger.housekeeping import DAY
from verger.settings import Settings

RUN, DIGEST = "20260102T030405-aaaaaa", "a123456789012345"


def left(folder: Path, days: float) -> Path:
    """A file, whose folders are made, or where the name has no dot a folder that holds one."""
    file = folder if folder.suffix else folder / "aside" / "run.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    when = time.time() - days * DAY
    os.utime(file, (when, when))
    os.utime(folder, (when, when))
    return folder


@pytest.mark.parametrize(
    ("name", "days"), [(f"logs/{RUN}.log", 30), (f"results/{RUN}", 30), (f"jvm/{DIGEST}.jsa", 180)]
)
def test_what_is_older_than_it_is_kept_for_goes(tmp_path: Path, name: str, days: int) -> None:
    old = left(tmp_path / name, days + 1)
    kept = left(tmp_path / name.replace("a", "b"), days - 1)
    housekeeping.tidy(tmp_path, tmp_path / "no such folder")
    assert not old.exists()
    assert kept.exists()


def test_what_is_not_of_runs_stays(tmp_path: Path) -> None:
    names = ("weights/a.h5", "graphs/a/graph.xml", "jars/a.jar", "jre/jdk-17/bin/java.so", "logs/notes.txt")
    users = ("results/fruits", "results/2026", "logs/mine.log", "jvm/mine.jsa", f"logs/{RUN}.log.bak", RUN)
    others = [left(tmp_path / name, 10_000) for name in (*names, *users)]
    housekeeping.tidy(tmp_path)
    assert all(file.exists() for file in others)


def test_what_is_used_is_kept(tmp_path: Path) -> None:
    archive = left(tmp_path / "jvm" / f"{DIGEST}.jsa", 10_000)
    archive.chmod(0o444)  # as the JVM makes it
    housekeeping.used(archive)
    housekeeping.tidy(tmp_path)
    assert archive.exists()


def test_a_file_that_is_not_there_is_not_made_by_its_use(tmp_path: Path) -> None:
    housekeeping.used(tmp_path / "a.jsa")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.spark
def test_a_start_tidies_up_and_keeps_what_it_starts_by(tmp_path: Path) -> None:
    (tmp_path / "jars").symlink_to(Settings.load().cache_dir / "jars")
    launch.environment(Settings.load())
    archive = left(launch.class_archive(tmp_path), 10_000)
    old = left(tmp_path / "logs" / f"{RUN}.log", 10_000)
    # In a process of its own: this one may have a JVM already, and would go on with it.
    start = (
        "import sys; from verger.launch import Launch; from verger.settings import Settings;"
        "process = Launch(Settings.load(cache=sys.argv[1])).jvm().process;"
        "process.stdin.close(); sys.exit(process.wait(60))"
    )
    assert subprocess.run([sys.executable, "-c", start, str(tmp_path)], check=False).returncode == 0
    assert not old.exists()
    assert archive.exists()
