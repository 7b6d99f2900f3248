from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from verger import progress
from verger.progress import Show, Told, describe, on_its_way, over

from tests.support import eventually


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE", 0.02)
    monkeypatch.setattr(progress, "BEAT", 0.02)


def show(terminal: bool, width: int = 100) -> tuple[Show, Callable[[], str]]:
    """A Show, and what it has written so far."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=width, legacy_windows=False)
    return Show(console), file.getvalue


@pytest.mark.parametrize(
    ("done", "total", "failed", "seconds", "text"),
    [
        (1200, 4207, 3, 3.87, "1,200 of 4,207 images, 310/s, 10 s left, 3 failed"),
        (0, 4207, 0, 9.0, "0 of 4,207 images, 0 failed"),
        (5, 10, 0, 0.0, "5 of 10 images, 0 failed"),
        (10, 10, 10, 2.0, "10 of 10 images, 5/s, 0 s left, 10 failed"),
        (1_000_000, 3_000_000, 1234, 1000, "1,000,000 of 3,000,000 images, 1,000/s, 2,000 s left, 1,234 failed"),
    ],
)
def test_progress_in_words(done: int, total: int, failed: int, seconds: float, text: str) -> None:
    assert describe(done, total, failed, seconds) == text


# What is written is read again, by whoever watches


@given(
    st.sampled_from(["features", "listing"]),
    st.floats(1e-3, 1e6),
    st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)),
    st.integers(0, 10**9),
)
def test_a_line_of_a_counted_stage_is_read_as_it_was_written(
    stage: str, seconds: float, count: tuple[int, int], total: int
) -> None:
    for ended, line in ((False, on_its_way(stage, seconds, count, total)), (True, over(stage, seconds, count, total))):
        told = Told.read(line)
        assert told is not None, line
        assert (told.stage, told.over, told.done, told.total, told.failed) == (stage, ended, count[0], total, count[1])
        assert (told.rate is None) == ("/s" not in line)


@given(st.sampled_from(["start", "statistics"]), st.floats(0, 1e6))
def test_a_line_of_a_stage_without_counts_is_read_as_it_was_written(stage: str, seconds: float) -> None:
    assert Told.read(on_its_way(stage, seconds, None, 0)) == Told(stage, over=False, detail=f"{seconds:.0f} s")
    assert Told.read(over(stage, seconds, None, 0)) == Told(stage, over=True, detail=f"{seconds:.1f} s")


@pytest.mark.parametrize(
    "line",
    [
        "64 images: 64 embedded, 0 reused, 0 failed", "12.3 s, 310 images/s", "  s3://fruits/results/pca.parquet", "",
        "verger: --images x: no such folder; give the folder that holds the images", "4,207 images, 4,207 new",
        "explained variance of 5 components: 0.5 (20.0%, ...)", "fetching delta.jar: 5 of 52 MB", "start", "start:",
    ],
)  # fmt: skip
def test_other_lines_are_of_no_stage(line: str) -> None:
    assert Told.read(line) is None


# Not a terminal: lines that a log can hold


def test_a_stage_is_one_line_in_the_end() -> None:
    shown, written = show(terminal=False)
    with shown.stage("listing"):
        pass
    assert written().split() == ["listing", "0.0", "s"]


def test_a_counted_stage_ends_with_its_counts() -> None:
    shown, written = show(terminal=False)
    with shown.stage("features", 4207, lambda: (4207, 3)):
        time.sleep(0.01)
    last = written().splitlines()[-1]
    assert last.startswith("features ")
    assert " s  4,207 of 4,207 images, " in last
    assert last.endswith("3 failed")


def test_a_long_stage_says_how_far_it_is_in_plain_lines() -> None:
    shown, written = show(terminal=False)
    with shown.stage("features", 100, lambda: (40, 2)):
        eventually(lambda: written().count("\n") >= 2)
        during = written().splitlines()
    assert all(line.startswith("features: 40 of 100 images, ") and line.endswith(" 2 failed") for line in during)
    assert "\x1b" not in written()


def test_a_long_stage_without_counts_says_how_long_it_takes() -> None:
    shown, written = show(terminal=False)
    with shown.stage("start"):
        eventually(lambda: "\n" in written())
        assert written().startswith("start: 0 s\n")


def test_a_short_stage_says_nothing_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE", 60.0)
    shown, written = show(terminal=False)
    with shown.stage("features", 10, lambda: (10, 0)):
        time.sleep(0.05)
    assert written().count("\n") == 1


# A terminal: a bar


def test_a_terminal_shows_a_bar_with_the_counts() -> None:
    shown, written = show(terminal=True)
    with shown.stage("features", 4207, lambda: (1200, 3)):
        eventually(lambda: "1,200 of 4,207 images" in written() and "━" in written())
        assert "3 failed" in written()
    assert "\x1b[?25h" in written()  # the cursor is shown again


def test_a_terminal_shows_seconds_where_there_are_no_counts() -> None:
    shown, written = show(terminal=True)
    with shown.stage("start"):
        eventually(lambda: "start" in written() and "0 s" in written())


# Both


@pytest.mark.parametrize("terminal", [True, False])
def test_seconds_are_kept_by_stage_and_add_up(terminal: bool) -> None:
    shown, _ = show(terminal)
    for name in ("listing", "features", "features"):
        with shown.stage(name):
            time.sleep(0.03)
    assert list(shown.seconds) == ["listing", "features"]
    assert 0.03 <= shown.seconds["listing"] < 5
    assert shown.seconds["features"] >= 0.06


@pytest.mark.parametrize("terminal", [True, False])
def test_a_stage_that_fails_ends_its_display_and_claims_nothing(terminal: bool) -> None:
    shown, written = show(terminal)
    before = set(threading.enumerate())
    with pytest.raises(KeyError), shown.stage("features", 10, lambda: (4, 0)):
        raise KeyError
    for thread in set(threading.enumerate()) - before:  # rich tells its own to stop, and does not wait for it
        thread.join(5)
    assert set(threading.enumerate()) <= before
    assert " s  4 of 10 images" not in written()  # the line of a stage that is done
    assert "features" in shown.seconds


def test_what_is_said_is_neither_wrapped_nor_read_as_markup() -> None:
    shown, written = show(terminal=False, width=20)
    path = "/data/[red]fruits[/red]/" + "very-long-name-" * 5 + ":smile:"
    shown.say(path)
    assert written() == path + "\n"


def test_a_download_is_told_in_about_ten_lines() -> None:
    shown, written = show(terminal=False)
    megabyte, total = 1 << 20, 50 * (1 << 20) + 12345
    for done in [*range(megabyte, total, megabyte), total]:
        shown.download("delta.jar", done, total)
    lines = written().splitlines()
    assert 9 <= len(lines) <= 12
    assert all(line.startswith("fetching delta.jar: ") and line.endswith(" of 52 MB") for line in lines)


@pytest.mark.parametrize("total", [0, 1, 1 << 20, 3 << 20])
def test_a_download_of_few_or_unknown_bytes_is_told_too(total: int) -> None:
    shown, written = show(terminal=False)
    for done in (1 << 20, 2 << 20, 3 << 20):
        shown.download("weights.h5", done, total)
    assert 1 <= len(written().splitlines()) <= 3
