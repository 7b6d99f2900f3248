"""`verger check` as a platform engineer types it: a tick or a reason each, and an exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from verger.check import memory_limit

from tests.conftest import command

pytestmark = [pytest.mark.spark, pytest.mark.main]


@pytest.fixture
def given(weights: dict[str, object]) -> list[object]:
    return ["--untrained"] if "untrained" in weights else ["--weights", weights["weights"]]


def rows(printed: str) -> list[tuple[str, str]]:
    """Mark and name of each line."""
    return [(line[0], line[2:15].strip()) for line in printed.splitlines()]


def test_all_that_a_run_needs_is_tried_and_nothing_is_left(orchard: Path, tmp_path: Path, given: list[object]) -> None:
    done = command("check", "--images", orchard, "--store", tmp_path / "s", "--results", tmp_path / "r", *given)
    assert done.returncode == 0, done.stdout + done.stderr
    names = ["residency"] * 3 + ["read images", "write store", "write results", "weights", "engine", "memory", "spark"]
    assert rows(done.stdout) == [("✓", name) for name in names]
    assert "a worker read" in done.stdout
    assert "embedded" in done.stdout
    assert list(tmp_path.rglob("*verger_check*")) == []


def test_without_places_the_machine_itself_is_tried(given: list[object]) -> None:
    done = command("check", *given)
    assert rows(done.stdout) == [("✓", name) for name in ("weights", "engine", "memory", "spark")]
    assert done.returncode == 0


def test_each_reason_is_told_and_the_first_decides_the_exit_code(tmp_path: Path, given: list[object]) -> None:
    (tmp_path / "file").write_text("in the way")
    empty = tmp_path / "empty"
    empty.mkdir()
    done = command(
        "check", "--images", empty, "--store", tmp_path / "file", "--driver-memory", f"{memory_limit() >> 20}m", *given
    )
    found = {name: mark for mark, name in rows(done.stdout)}
    assert {name for name, mark in found.items() if mark == "✗"} == {"read images", "write store", "memory", "spark"}
    assert "nothing is there; give the folder that holds the images" in done.stdout
    assert "lower --driver-memory" in done.stdout
    assert done.returncode == 2  # of the first: no images
    assert done.stderr.splitlines()[-1] == "verger: check: 4 of 8 failed; a run would not work here"


def test_what_is_refused_is_not_touched(given: list[object]) -> None:
    """No server is there to be asked: the refusal comes before."""
    done = command(
        "check", "--images", "s3://fruits/images", "--store", "s3://fruits/store",
        "--region", "us-east-1", "--endpoint", "https://127.0.0.1:9", "--attest-region", "us-east-1", *given,
    )  # fmt: skip
    assert done.returncode == 3
    assert rows(done.stdout)[:3] == [("✗", "clearance"), ("✗", "read images"), ("✗", "write store")]
    assert "residency eu allows" in done.stdout
    assert done.stdout.count("not tried: no clearance") == 3
