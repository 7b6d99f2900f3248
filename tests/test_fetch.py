"""image/fetch.py, as the image's build calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from verger import network

FETCH = Path(__file__).parents[1] / "image" / "fetch.py"


@pytest.mark.main
def test_no_image_is_made_of_other_weights_than_the_pinned_ones(tmp_path: Path) -> None:
    (tmp_path / network.FILE).write_bytes(b"other weights")
    done = subprocess.run(
        [sys.executable, str(FETCH), str(tmp_path)],
        capture_output=True, text=True, timeout=60, env=os.environ | {"VERGER_CACHE": str(tmp_path / "cache")},
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "no image without its parts" in done.stderr
    assert network.SHA256 in done.stderr


@pytest.mark.real
@pytest.mark.usefixtures("real_images")
def test_the_weights_that_tests_use_are_the_pinned_ones() -> None:
    assert network.Weights(Path(os.environ["VERGER_WEIGHTS"])).sha256 == network.SHA256
