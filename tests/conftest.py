"""What the tests share: real images and weights where there are some, drawn images and untrained weights elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from pyspark.sql import SparkSession
from rich.console import Console
from verger import drawing, session
from verger.launch import Launch
from verger.pipeline import Outcome, Run
from verger.progress import Show
from verger.settings import Settings

from tests import kubeschemas, s3server
from tests.s3server import S3, Bucket

if TYPE_CHECKING:
    from tests.emrcloud import Cloud

Runner = Callable[..., Outcome]

hypothesis.settings.register_profile("verger", deadline=None)  # how long an example takes is the machine's business
hypothesis.settings.load_profile("verger")


@pytest.fixture(scope="session")
def weights() -> dict[str, object]:
    """The settings of the best weights there are: VERGER_WEIGHTS, else untrained."""
    named = os.environ.get("VERGER_WEIGHTS")
    return {"weights": named} if named else {"untrained": True}


@pytest.fixture(scope="session")
def real_images() -> Path:
    """Fruits-360's Test folder (VERGER_TEST_IMAGES), for tests of what real features are."""
    named = os.environ.get("VERGER_TEST_IMAGES")
    if not named or not os.environ.get("VERGER_WEIGHTS"):
        pytest.skip("VERGER_TEST_IMAGES and VERGER_WEIGHTS name no real images and weights")
    return Path(named)


@pytest.fixture
def three_fruits(real_images: Path, tmp_path: Path) -> Path:
    """496 of the real images, where their number is not the point."""
    folder = tmp_path / "three"
    folder.mkdir()
    for name in ("Apple Red 1", "Dates", "Kaki"):
        (folder / name).symlink_to(real_images / name)
    return folder


@pytest.fixture(scope="session")
def orchard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 drawn images of 8 fruits."""
    folder = tmp_path_factory.mktemp("orchard") / "images"
    drawing.orchard(folder, 8)
    return folder


@pytest.fixture
def run(weights: dict[str, object], tmp_path: Path) -> Runner:
    """A run in this process, on STORE and RESULTS below tmp_path: run(images, components=5)."""

    def run(images: Path, *, transform: bool = False, **given: object) -> Outcome:
        places = {"store": str(tmp_path / "store"), "results": str(tmp_path / "results")}
        settings = Settings.load(**{"images": str(images), "components": 5, **places, **weights, **given})
        job = Run(settings, Show(Console(quiet=True)))
        return job.transform() if transform else job.run()

    return run


@pytest.fixture
def spark() -> Iterator[SparkSession]:
    """A session as a run has it."""
    started = session.start(Launch(Settings.load()))
    yield started
    session.stop(started)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server of the tests' own."""
    with s3server.serving(tmp_path_factory.mktemp("s3")) as started:
        yield started


@pytest.fixture
def bucket(s3: S3) -> Bucket:
    """A new, empty bucket."""
    return s3.bucket()


@pytest.fixture
def images(bucket: Bucket, tmp_path: Path) -> Bucket:
    """A bucket with 8 drawn images."""
    drawing.orchard(tmp_path / "drawn", 1)
    bucket.upload(tmp_path / "drawn", "images")
    return bucket


def _cloud() -> Iterator[Cloud]:
    from tests import emrcloud  # moto: seconds, which other tests need not wait for

    with emrcloud.serving() as aws:
        yield emrcloud.furnish(aws)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """An AWS account with a virtual cluster of EMR on EKS and all that a run on it needs."""
    yield from _cloud()


@pytest.fixture(scope="module")
def shared() -> Iterator[Cloud]:
    """The same, for tests that change nothing in it and are the first of their module."""
    yield from _cloud()


@pytest.fixture(scope="session")
def kube_schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Schemas for `kubeschemas.check`, of the cluster that kubectl's context names."""
    missing = [tool for tool in ("kubectl", "kubeconform") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not on the PATH: {', '.join(missing)}")
    return kubeschemas.schemas(tmp_path_factory.mktemp("schemas"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where everything is there that tests want (VERGER_NO_SKIPS, as in CI), a skip is a failure."""
    if os.environ.get("VERGER_NO_SKIPS") and terminalreporter.stats.get("skipped"):
        pytest.exit("tests were skipped that must not be: see above", returncode=1)


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """`verger ARGUMENTS` as a user types it."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("verger")), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment,
        check=False,
    )
