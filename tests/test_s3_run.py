"""The whole job between buckets: what it gives, what it asks of S3, and what it leaves alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from verger import drawing

from tests.conftest import Runner
from tests.s3server import S3, WRITES, Bucket, Done, run
from tests.test_pipeline import assert_same, vectors

pytestmark = [pytest.mark.spark, pytest.mark.s3]


def job(bucket: Bucket, *arguments: object, command: str = "run", **places: str) -> Done:
    """A run by root between prefixes of one bucket, to its good end."""
    done = tried(bucket, *arguments, command=command, **places)
    assert done.code == 0, done.lines
    return done


def tried(bucket: Bucket, *arguments: object, command: str = "run", **places: str) -> Done:
    given = ["--components", 5, *arguments] if command == "run" else arguments
    options = [*bucket.places(**places), *bucket.s3.options(), "--allow-static-keys"]
    return run(bucket.s3.environment, command, *options, *given)


def fetched(bucket: Bucket, prefix: str = "images/") -> Counter[str]:
    """How often each object was read."""
    return Counter(request.key for request in bucket.requests("GetObject", under=prefix) if request.status < 300)


def manifest(bucket: Bucket, results: str = "results") -> dict[str, object]:
    found: dict[str, object] = json.loads(bucket.read(f"{results}/run.json"))
    return found


@pytest.fixture
def images(bucket: Bucket, orchard: Path) -> Bucket:
    """A bucket with 64 drawn images."""
    bucket.upload(orchard, "images")
    return bucket


@pytest.mark.real
def test_real_images_are_fetched_once_and_give_what_the_local_run_gives(
    run: Runner, bucket: Bucket, real_images: Path, tmp_path: Path
) -> None:
    assert bucket.upload(real_images, "images") == 4207
    before = len(bucket.requests())

    job(bucket, "--components", 100)

    asked = Counter(f"{request.action} {request.key.split('/')[0]}" for request in bucket.requests()[before:])
    print("first run:", dict(asked.most_common()))
    reads = fetched(bucket)
    assert (len(reads), set(reads.values())) == (4207, {1})
    told = manifest(bucket)
    assert told["images"] == {"listed": 4207, "embedded": 4207, "reused": 0, "failed": 0}
    assert told["explained_variance"]["sum"] == pytest.approx(0.84045366, abs=1e-5)  # type: ignore[index]
    local = run(real_images, components=100)
    assert_same(local.results, bucket.download("results", tmp_path / "first"))

    before = len(bucket.requests())
    job(bucket, "--components", 100, "--overwrite")

    asked = Counter(f"{request.action} {request.key.split('/')[0]}" for request in bucket.requests()[before:])
    print("second run:", dict(asked.most_common()))
    assert fetched(bucket) == reads
    assert manifest(bucket)["images"] == {"listed": 4207, "embedded": 0, "reused": 4207, "failed": 0}
    assert_same(local.results, bucket.download("results", tmp_path / "second"))


def test_results_appear_by_completed_uploads_and_nothing_is_copied_or_left_over(images: Bucket) -> None:
    uploaded = len(images.requests(under="images/"))
    job(images)
    asked = {request.action for request in images.requests(under="images/")[uploaded:]}
    assert asked == {"GetObject"}  # and no HeadObject
    assert json.loads(images.read("results/pca.parquet/_SUCCESS"))["committer"] == "magic"
    assert not images.requests("CopyObject", "UploadPartCopy")
    assert images.uploads() == []
    left = {key.split("/")[1] for key in images.objects("results/")}
    assert left == {"pca.parquet", "results.csv", "projection", "failures.csv", "run.json"}
    assert {key.split("/")[1].split("-")[0] for key in images.objects("store/")} == {"_delta_log", "part"}
    put = {request.key for request in images.requests("PutObject", under="results/")}
    assert not [key for key in put if not key.startswith("results/.verger-")]  # what is visible was completed whole


def test_results_are_refused_where_there_are_some_and_replaced_when_told_so(images: Bucket, tmp_path: Path) -> None:
    images.put("results/notes.txt", b"of an earlier run")
    before = len(images.requests())
    tried(images).refused(2, f"--results {images.url('results')}: not empty; give another folder, or --overwrite")
    assert not [request for request in images.requests()[before:] if request.action in WRITES]

    job(images, "--overwrite")
    assert "results/notes.txt" not in images.objects()
    first = images.download("results", tmp_path / "first")
    job(images, "--overwrite", "--components", 3)
    second = images.download("results", tmp_path / "second")
    assert {len(vector) for vector in vectors(first).values()} == {5}
    assert {len(vector) for vector in vectors(second).values()} == {3}
    assert images.uploads() == []


def test_a_run_that_fails_leaves_earlier_results_as_they_were(images: Bucket) -> None:
    job(images)
    before = images.tags("results/")
    log = sorted(key for key in images.objects("store/_delta_log/"))
    images.put(log[-1], b"{")  # the store can't be read any more

    failed = tried(images, "--overwrite")

    assert failed.code == 1
    assert failed.lines[-1].startswith("verger: ")
    assert images.tags("results/") == before
    assert images.uploads() == []


def test_new_images_go_through_an_earlier_runs_projection(images: Bucket, orchard: Path, tmp_path: Path) -> None:
    job(images)
    images.upload(orchard / "Kiwi", "new/Kiwi")
    given = {"images": "new", "store": "store2", "results": "transformed"}
    job(images, "--projection", images.url("results"), command="transform", **given)
    first = vectors(images.download("results", tmp_path / "first"))
    found = vectors(images.download("transformed", tmp_path / "second"))
    assert len(found) == 8
    for name, vector in found.items():
        assert vector == pytest.approx(first[name], abs=1e-4)
    assert fetched(images, "new/") == dict.fromkeys(images.objects("new/"), 1)


@pytest.mark.parametrize("in_bucket", ["store", "results"])
def test_store_and_results_may_be_on_different_sides(
    s3: S3, bucket: Bucket, orchard: Path, tmp_path: Path, in_bucket: str
) -> None:
    places = {"store": str(tmp_path / "store"), "results": str(tmp_path / "results"), in_bucket: bucket.url(in_bucket)}
    words = [word for name, place in places.items() for word in (f"--{name}", place)]
    given = [*words, *s3.options(), "--allow-static-keys", "--components", 5]

    done = run(s3.environment, "run", "--images", orchard, *given)

    assert done.code == 0, done.lines
    results = bucket.download("results", tmp_path / "results") if in_bucket == "results" else tmp_path / "results"
    assert len(vectors(results)) == 64
    again = run(s3.environment, "run", "--images", orchard, *given, "--overwrite")
    assert "0 embedded, 64 reused, 0 failed" in again.out
    assert bucket.uploads() == []


def test_names_may_hold_anything_that_a_key_may(bucket: Bucket, tmp_path: Path) -> None:
    names = ["a b.jpg", "p%41.jpg", "h#1.jpg", "é+.jpg", "q?.jpg", "st*r.jpg", "quote'\".jpg", "comma,.jpg"]
    folder = tmp_path / "im[ag]es {1}" / "la%62el #1"
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        drawing.draw("Kiwi", number).save(folder / name, "JPEG")
    bucket.upload(folder.parent, "im[ag]es {1}")
    job(bucket, images="im[ag]es {1}")
    assert {name.split("/")[-1] for name in vectors(bucket.download("results", tmp_path / "r"))} == set(names)
    assert set(fetched(bucket, "im[ag]es").values()) == {1}
    job(bucket, "--overwrite", images="im[ag]es {1}")
    assert set(fetched(bucket, "im[ag]es").values()) == {1}
