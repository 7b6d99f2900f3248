"""One writer a store in a bucket: real processes, and a server that keeps its word on conditional writes."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyarrow import fs
from verger import drawing, lease
from verger.aws import Aws
from verger.bucket_lease import BucketPlace
from verger.buckets import BucketFolder
from verger.errors import VergerError
from verger.lease import NAME, Lease, LeaseLost, Owner, StoreBusy
from verger.locations import Location

from tests.s3server import KEYS, REGION, S3, Bucket, Front, answering, finished, standing_before, verger
from tests.support import eventually, one_line

pytestmark = pytest.mark.s3


@pytest.fixture(autouse=True)
def _root(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)


def place(bucket: Bucket, prefix: str = "store", endpoint: str | None = None) -> BucketPlace:
    aws = Aws(REGION, endpoint or bucket.s3.server.url)
    return BucketPlace(BucketFolder.of(Location.parse(bucket.url(prefix)), aws))


def owner(bucket: Bucket) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(bucket.read(f"store/{NAME}"))
    return content


def theirs(renewed: float = 0.0) -> Owner:
    return Owner("theirs", "elsewhere", 1, renewed)


def test_a_lease_names_its_owner_and_is_released_at_the_end(bucket: Bucket) -> None:
    with Lease(place(bucket), "ours") as held:
        held.check()
        assert owner(bucket)["run"] == "ours"
        with pytest.raises(StoreBusy) as error, Lease(place(bucket), "second"):
            pytest.fail("both hold the lease")
        one_line(error, bucket.url("store"), "run ours", "wait for it to end")
    assert bucket.objects() == []


def test_it_is_released_when_the_run_fails(bucket: Bucket) -> None:
    with pytest.raises(KeyError), Lease(place(bucket), "ours"):
        raise KeyError
    assert bucket.objects() == []


def test_a_write_replaces_what_was_read_and_nothing_else(bucket: Bucket) -> None:
    here = place(bucket)
    assert not here.write(theirs(), replacing='"0123456789abcdef0123456789abcdef"')  # there is nothing to replace
    assert here.write(theirs(), replacing=None)
    claim = here.read()
    assert claim is not None
    assert claim.owner == theirs()
    assert claim.age < 5
    assert not here.write(theirs(1.0), replacing=None)
    assert here.write(theirs(2.0), replacing=claim.tag)
    assert not here.write(theirs(3.0), replacing=claim.tag)
    assert owner(bucket)["renewed"] == 2.0


def test_age_goes_by_the_servers_clock_whatever_the_owner_wrote(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner elsewhere that does not renew is outwaited."""
    place(bucket).write(theirs(renewed=0.0), replacing=None)  # a clock that is 50 years late
    found = place(bucket).read()
    assert found is not None
    assert not found.is_free()
    monkeypatch.setattr(lease, "EXPIRY", 3.0)
    said: list[str] = []
    began = time.monotonic()
    with Lease(place(bucket), "ours", said.append) as held:
        held.check()
        assert time.monotonic() - began > 2  # S3 dates by the second
    assert "run theirs (process 1 on elsewhere)" in said[0]


def test_an_owner_elsewhere_that_renews_is_left_alone(bucket: Bucket) -> None:
    here = place(bucket)
    here.write(theirs(), replacing=None)
    claim = here.read()
    assert claim is not None
    timer = threading.Timer(1.5, lambda: here.write(theirs(1.0), replacing=claim.tag))
    timer.start()
    with pytest.raises(StoreBusy) as error, Lease(place(bucket), "ours"):
        pytest.fail("both hold the lease")
    timer.join()
    one_line(error, "theirs", "elsewhere")
    assert owner(bucket)["renewed"] == 1.0


def test_an_expired_lease_is_taken_over_and_its_owner_told(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with Lease(place(bucket), "late") as late:
        late.check()
        monkeypatch.setattr(lease, "EXPIRY", 1.0)
        time.sleep(3)  # S3 dates an object by the second
        monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")  # else its owner is seen to be running
        with Lease(place(bucket), "next") as held:
            held.check()
            with pytest.raises(LeaseLost) as error:
                late.check()
            one_line(error, bucket.url("store"), "start this one again")
            held.check()
            assert owner(bucket)["run"] == "next"


def test_of_many_that_take_over_an_expired_lease_one_wins(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    place(bucket).write(theirs(), replacing=None)
    monkeypatch.setattr(lease, "EXPIRY", -60.0)  # whatever the age: S3 dates by the second, and its clock may lag one
    places = [place(bucket) for _ in range(16)]
    found = [each.read() for each in places]
    start = threading.Barrier(16)

    def take(number: int) -> bool:
        claim = found[number]
        assert claim is not None
        assert claim.is_free()
        start.wait(10)
        return places[number].write(Owner(str(number), "here", 1, 0.0), claim.tag)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(take, range(16)))
    assert won.count(True) == 1
    assert owner(bucket)["run"] == str(won.index(True))


@pytest.mark.parametrize("kept", [b"", b"{", b"null"])
def test_a_lease_that_says_nothing_is_nobodys(bucket: Bucket, kept: bytes) -> None:
    bucket.put(f"store/{NAME}", kept)
    with Lease(place(bucket), "ours") as held:
        held.check()


def test_a_lease_whose_answer_was_lost_is_ours(bucket: Bucket) -> None:
    """The object is made, the answer does not arrive, the client asks again and is told that there is one."""
    with standing_before(bucket.s3.server) as front:
        front.loses = lambda head: head.startswith(b"PUT") and not any(old is not head for old in puts(front))
        with Lease(place(bucket, endpoint=front.url), "ours") as held:
            held.check()
            assert owner(bucket)["run"] == "ours"
    assert [request.status for request in bucket.requests("PutObject")] == [200, 412]
    assert bucket.objects() == []


def test_it_is_renewed_through_an_outage_and_not_over_a_new_owner(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWAL", 0.05)
    with standing_before(bucket.s3.server) as front, Lease(place(bucket, endpoint=front.url), "ours") as held:
        first = owner(bucket)["renewed"]
        front.answer = lambda _: answering("503 Slow Down")
        time.sleep(1)
        front.answer = lambda _: None
        eventually(lambda: owner(bucket)["renewed"] > first + 1, 30)
        held.check()
        bucket.put(f"store/{NAME}", theirs().to_bytes())
        eventually(lambda: not any(thread.name == "verger-lease" for thread in threading.enumerate()), 30)
        with pytest.raises(LeaseLost):
            held.check()
    assert owner(bucket)["run"] == "theirs"


@pytest.mark.parametrize("what", ["away for good", "taken over"])
def test_who_waits_for_something_long_is_told(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(lease, "RENEWAL", 0.05)
    monkeypatch.setattr(lease, "PATIENCE", 0.0)
    with standing_before(bucket.s3.server) as front:
        here = place(bucket, endpoint=front.url)
        here.folder.aws.hurry()
        with Lease(here, "ours") as held:
            assert not held.lost.done()
            if what == "taken over":
                bucket.put(f"store/{NAME}", theirs().to_bytes())
            else:
                front.answer = lambda _: answering("503 Slow Down")
            with pytest.raises(LeaseLost if what == "taken over" else VergerError) as error:
                held.lost.result(30)
            one_line(error, bucket.url("store"))
            front.answer = lambda _: None
            with pytest.raises(type(error.value)):
                held.check()


@pytest.mark.parametrize("hurried", [False, True])
def test_who_is_in_a_hurry_does_not_wait_for_a_server_that_is_away(bucket: Bucket, hurried: bool) -> None:
    with standing_before(None) as front:
        front.answer = lambda _: answering("503 Slow Down") if len(front.heads) < 4 else answering("404 Not Found")
        away = place(bucket, endpoint=front.url)
        if hurried:
            away.folder.aws.hurry()
            with pytest.raises(VergerError):
                away.read()
            assert len(front.heads) == 3
        else:
            assert away.read() is None
            assert len(front.heads) == 4


def puts(front: Front) -> list[bytes]:
    return [head for head in front.heads if head.startswith(b"PUT")]


ROUNDS = 80


def race(url: str, bucket: str, name: str, start: Barrier, tried: Barrier, outcomes: Any) -> None:
    """Try to get the lease of each round's store at the same instant as the other processes."""
    aws = Aws(REGION, url)
    aws.s3.list_objects_v2(Bucket=bucket)  # the client is made before the start
    for number in range(ROUNDS):
        here = BucketPlace(BucketFolder(aws, bucket, f"{number}/"))
        start.wait(30)
        try:
            with Lease(here, name) as held:
                tried.wait(30)  # hold it until all have tried
                held.check()
                outcomes.put((number, name))
        except StoreBusy:
            tried.wait(30)


def test_of_processes_that_start_at_once_exactly_one_wins(bucket: Bucket) -> None:
    context = multiprocessing.get_context("spawn")
    start, tried, outcomes = context.Barrier(3), context.Barrier(3), context.Queue()
    given = (bucket.s3.server.url, bucket.name)
    racers = [context.Process(target=race, args=(*given, name, start, tried, outcomes), daemon=True) for name in "abc"]
    for racer in racers:
        racer.start()
    winners = [outcomes.get(timeout=60) for _ in range(ROUNDS)]
    for racer in racers:
        racer.join(30)
        assert racer.exitcode == 0
    assert sorted(number for number, _ in winners) == list(range(ROUNDS))
    assert outcomes.empty()
    by_the_server = sum(request.status == 412 for request in bucket.requests("PutObject"))
    print(f"{ROUNDS} rounds of 3: won by {Counter(name for _, name in winners)}, {by_the_server} refused by S3 itself")
    assert by_the_server > 0  # else they never met, and nothing was shown


RUNS = 20


@pytest.mark.spark
def test_of_two_runs_that_start_at_once_on_a_store_one_is_refused(s3: S3, tmp_path: Path) -> None:
    """The winner holds its lease while Spark starts and works, for seconds; the other one tries within that time: had
    it come too late, both would succeed, and the count would say so."""
    drawing.orchard(tmp_path / "images", 1)
    met = Counter[str]()
    for _ in range(RUNS):
        bucket = s3.bucket()
        bucket.upload(tmp_path / "images", "images")
        options = [*s3.options(), "--allow-static-keys", "--components", 2, "--master", "local[1]", "--partitions", 1]
        barrier, go = os.pipe()
        started = [
            verger(s3.environment, "run", *bucket.places(results=results), *options, barrier=barrier)
            for results in ("one", "other")
        ]
        time.sleep(0.1)  # both wait
        os.close(barrier)
        os.close(go)
        with ThreadPoolExecutor(2) as pool:
            one, other = sorted(pool.map(finished, started), key=lambda done: done.code)
        assert one.code == 0, one.lines
        other.refused(1, bucket.url("store"), "is writing to this store; wait for it to end")
        run = json.loads(bucket.read(next(key for key in bucket.objects() if key.endswith("/run.json"))))["run"]
        assert f"run {run} (process " in other.lines[-1]
        assert Counter(stored(bucket)) == Counter(f"s3a://{bucket.name}/{key}" for key in bucket.objects("images/"))
        assert f"store/{NAME}" not in bucket.objects("store/")
        assert bucket.uploads() == []
        refusals = [request for request in bucket.requests("PutObject", under=f"store/{NAME}") if request.status == 412]
        met["refused by S3" if refusals else "found the other's lease"] += 1
    print(f"{RUNS} starts of two: {RUNS} won, {RUNS} refused; {dict(met)}")


def stored(bucket: Bucket, store: str = "store") -> list[str]:
    """The path of every row of a store, by what Delta's log says of its files."""
    files: dict[str, None] = {}
    for key in sorted(key for key in bucket.objects(f"{store}/_delta_log/") if key.endswith(".json")):
        for action in map(json.loads, bucket.read(key).splitlines()):
            if "add" in action:
                files[action["add"]["path"]] = None
            elif "remove" in action:
                files.pop(action["remove"]["path"], None)
    reader = fs.S3FileSystem(
        access_key=KEYS["access"], secret_key=KEYS["secret"], region=REGION, scheme="http",
        endpoint_override=bucket.s3.server.url.removeprefix("http://"),
    )  # fmt: skip
    tables = [pq.read_table(f"{bucket.name}/{store}/{name}", filesystem=reader, columns=["path"]) for name in files]
    return [path for table in tables for path in table["path"].to_pylist()]
