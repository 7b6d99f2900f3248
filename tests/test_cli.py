"""The commands as a user types them: exit codes, and one line for every error."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from verger import __version__, cli
from verger.settings import Settings

from tests.conftest import command

PLACES = ("--images", "images", "--store", "store", "--results", "results")


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("run",), 2, "verger: --images is missing; give it, or set VERGER_IMAGES"),
        (
            ("run", "--components", "0", *PLACES),
            2,
            "verger: --components 0: input should be greater than or equal to 1",
        ),
        (("run", "--components", "many", *PLACES), 2, "verger: --components many: input should be a valid integer"),
        (("run", "--engine", "gpu", *PLACES), 2, "verger: --engine gpu: input should be 'openvino' or 'tensorflow'"),
        (
            ("run", "--images", "ftp://x/y", "--store", "s", "--results", "r"),
            2,
            "verger: --images ftp://x/y: unknown scheme",
        ),
        (("run", *PLACES), 2, "verger: --images "),
        (("run", "--no-such-option"), 2, "verger: No such option: --no-such-option"),
        (("fly",), 2, "verger: No such command 'fly'"),
        (("run", "--config", "nowhere.yaml"), 2, "verger: --config nowhere.yaml: No such file or directory"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], code: int, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command(*arguments)
    assert done.returncode == code
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_weights_that_are_not_there_are_one_line(orchard: Path, tmp_path: Path) -> None:
    done = command(
        "run", "--images", orchard, "--store", tmp_path / "s", "--results", tmp_path / "r", "--weights", "none.h5"
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("verger: --weights none.h5: no such file")


def test_version_and_help_are_printed() -> None:
    assert command("--version").stdout == f"verger {__version__}\n"
    listed = command("run", "--help", COLUMNS="200").stdout
    for name in Settings.model_fields:
        if name not in ("projection",):
            assert f"--{name.replace('_', '-')}" in listed
    assert "Principal components to keep. [default: 100]" in listed


@pytest.mark.spark
def test_a_run_tells_its_progress_and_its_outcome(orchard: Path, tmp_path: Path, weights: dict[str, object]) -> None:
    option = ["--untrained"] if "untrained" in weights else ["--weights", weights["weights"]]
    places = ["--store", tmp_path / "store", "--results", tmp_path / "results"]
    done = command("run", "--images", orchard, *places, "--components", "3", *option)
    assert done.returncode == 0, done.stderr
    assert "64 images: 64 embedded, 0 reused, 0 failed" in done.stdout
    assert "explained variance of 3 components: 0." in done.stdout
    for stage in ("start", "listing", "features", "statistics", "results"):
        assert f"\n{stage} " in f"\n{done.stderr}"
    assert "WARN" not in done.stderr + done.stdout
    assert json.loads((tmp_path / "results" / "run.json").read_text())["images"]["embedded"] == 64

    again = command("run", "--images", orchard, *places, *option)
    assert again.returncode == 2
    assert again.stderr.startswith("verger: --results ")


@pytest.mark.spark
def test_the_second_of_two_runs_on_a_store_gets_one_line(
    orchard: Path, tmp_path: Path, weights: dict[str, object]
) -> None:
    option = ["--untrained"] if "untrained" in weights else ["--weights", str(weights["weights"])]
    arguments = ["run", "--images", str(orchard), "--store", str(tmp_path / "store"), *option, "--results"]
    verger = str(Path(sys.executable).with_name("verger"))
    first = subprocess.Popen([verger, *arguments, str(tmp_path / "r1")], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    while not (tmp_path / "store" / "_verger_lease.json").exists():
        assert first.poll() is None
        time.sleep(0.01)
    second = command(*arguments, tmp_path / "r2")
    first.communicate(timeout=120)
    assert (first.returncode, second.returncode) == (0, 1)
    assert f"(process {first.pid} on " in second.stderr
    assert second.stderr.count("\n") == 1
    assert not (tmp_path / "store" / "_verger_lease.json").exists()


def test_the_word_of_a_worker_is_the_commands() -> None:
    """As Spark tells it: a Python traceback in the message of an error of its own."""
    error = RuntimeError(
        "Job aborted due to stage failure: PythonException: Traceback (most recent call last):\n"
        '  File "reading.py", line 1, in _object\n    raise VergerError()\n'
        "verger.errors.VergerError: s3://fruits/a: access denied to GetObject; correct the location\n\n\tat org\n"
    )
    assert cli._unforeseen(error) == "s3://fruits/a: access denied to GetObject; correct the location"
