"""A server that is away, slow or throttling: runs go on, or end within bounds with one line; nothing is lost."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from verger import drawing

from tests import s3server
from tests.s3server import S3, Bucket, answering, finished, run, standing_before, verger
from tests.support import eventually
from tests.test_s3_lease import stored

pytestmark = [pytest.mark.s3, pytest.mark.spark]
IMAGES = 400  # for runs whose server goes away in the middle of them
FEW = 32
AWAY = 20  # seconds


@pytest.fixture
def own(tmp_path: Path) -> Iterator[S3]:
    """A server that this test may kill."""
    with s3server.serving(tmp_path / "s3") as started:
        yield started


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "images"
    drawing.orchard(folder, IMAGES // 8)
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few") / "images"
    drawing.orchard(folder, FEW // 8)
    return folder


def options(s3: S3, endpoint: str | None = None) -> list[object]:
    """Commits of few images, so that the features stage lasts and there is much to lose."""
    return [*s3.options(endpoint), "--allow-static-keys", "--components", 5, "--commit-every", 40]


def images_read(bucket: Bucket) -> int:
    return len(bucket.requests("GetObject", under="images/"))


def complete(bucket: Bucket, images: int = IMAGES) -> None:
    """Every image has one row in the store, with features, and is in the results."""
    assert Counter(stored(bucket)) == Counter(f"s3a://{bucket.name}/{key}" for key in bucket.objects("images/"))
    told = json.loads(bucket.read("results/run.json"))["images"]
    assert (told["listed"], told["failed"]) == (images, 0)
    assert told["embedded"] + told["reused"] == images


def test_a_run_goes_on_when_its_server_was_away_for_20_seconds(own: S3, many: Path) -> None:
    bucket = own.bucket()
    bucket.upload(many, "images")
    process = verger(own.environment, "run", *bucket.places(), *options(own))
    eventually(lambda: images_read(bucket) > IMAGES // 4, 120)
    before = images_read(bucket)
    own.server.kill()
    time.sleep(AWAY)
    own.server.start()
    done = finished(process)
    print(f"killed for {AWAY} s after {before} of {IMAGES} images: ended {done.code} {done.seconds:.0f} s later")
    assert before < IMAGES
    assert done.code == 0, done.lines
    complete(bucket)
    print(f"images fetched: {images_read(bucket)}")


def test_a_server_that_is_gone_for_good_is_one_line_within_minutes_and_a_rerun_resumes(own: S3, many: Path) -> None:
    bucket = own.bucket()
    bucket.upload(many, "images")
    process = verger(own.environment, "run", *bucket.places(), *options(own))
    eventually(lambda: images_read(bucket) > IMAGES // 4, 120)
    own.server.kill()
    done = finished(process, 300)
    print(f"gone for good: ended {done.seconds:.0f} s later: {done.lines[-1]}")
    done.refused(1, "onnect", "check the network and --endpoint, and run again")
    own.server.start()
    time.sleep(1)
    before = images_read(bucket)
    again = run(own.environment, "run", *bucket.places(), *options(own))
    assert again.code == 0, again.lines
    complete(bucket)
    print(f"the rerun fetched {images_read(bucket) - before} of {IMAGES} images")
    assert images_read(bucket) - before < IMAGES


def test_a_server_that_was_never_there_is_one_line(own: S3) -> None:
    bucket = own.bucket()
    own.server.kill()
    done = run(own.environment, "run", *bucket.places(), *options(own))
    print(f"never there: ended after {done.seconds:.0f} s: {done.lines[-1]}")
    done.refused(1, f"s3://{bucket.name}", "check the network and --endpoint")
    assert done.seconds < 280
    own.server.start()


@pytest.mark.parametrize("status", ["503 Slow Down", "500 Internal Server Error"])
def test_a_run_goes_on_through_seconds_of_errors(s3: S3, bucket: Bucket, few: Path, status: str) -> None:
    """From the moment that images are read, and once more when results are written."""
    bucket.upload(few, "images")
    refused: list[bytes] = []
    ends: dict[bytes, float] = {}

    def answer(head: bytes) -> bytes | None:
        for what in (b"/images/", b"/results/"):
            if what in head.splitlines()[0] and head.startswith((b"GET", b"PUT")):
                ends.setdefault(what, time.monotonic() + 8)
        if not any(time.monotonic() < end for end in ends.values()):
            return None
        refused.append(head)
        return answering(status)

    with standing_before(s3.server) as front:
        front.answer = answer
        done = run(s3.environment, "run", *bucket.places(), *options(s3, front.url))
    print(f"{status} for 2 x 8 s: {len(refused)} requests refused, ended {done.code}")
    assert len(ends) == 2
    assert refused
    assert done.code == 0, done.lines
    complete(bucket, FEW)


def test_a_run_goes_on_when_answers_come_late(s3: S3, bucket: Bucket, few: Path) -> None:
    """Each of the images a second late, one of them 25."""
    bucket.upload(few, "images")
    late: list[bytes] = []

    def answer(head: bytes) -> None:
        if head.startswith(b"GET") and b"/images/" in head.splitlines()[0]:
            late.append(head)
            time.sleep(25 if len(late) == 10 else 1)

    with standing_before(s3.server) as front:
        front.answer = answer
        done = run(s3.environment, "run", *bucket.places(), *options(s3, front.url))
    assert done.code == 0, done.lines
    assert len(late) == FEW
    complete(bucket, FEW)
