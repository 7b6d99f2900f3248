"""What workers read, file by file and object by object; whole runs do so in Spark."""

from __future__ import annotations

import os
import pickle
import threading
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pyarrow as pa
import pytest
from verger import reading
from verger.aws import Aws
from verger.errors import VergerError
from verger.locations import Location
from verger.reading import REQUESTS, TRIES, BucketReader, LocalReader, reader

from tests.s3server import REGION, Bucket, standing_before

WHEN = datetime(2026, 11, 26, 12, 0, 0, 250_000, tzinfo=UTC)


def batch(*images: tuple[str, int, datetime]) -> pa.RecordBatch:
    """As Spark hands it over."""
    path, size, modified = zip(*images, strict=True)
    kinds = [pa.string(), pa.int64(), pa.timestamp("us", tz="UTC")]
    columns = [pa.array(values, kind) for values, kind in zip((path, size, modified), kinds, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=["path", "size", "modified"])


def local(folder: Path, name: str, content: bytes) -> tuple[str, int, datetime]:
    file = folder / name
    file.write_bytes(content)
    os.utime(file, (WHEN.timestamp(), WHEN.timestamp()))
    return f"file:{file}", len(content), WHEN


def test_files_are_read_as_they_were_listed(tmp_path: Path) -> None:
    good = local(tmp_path, "a b+%20ü.jpg", b"good")
    gone = (f"file:{tmp_path}/gone.jpg", 4, WHEN)
    longer, later, last = (local(tmp_path, name, b"changed") for name in ("longer", "later", "last"))
    changed = (longer[0], 4, WHEN), (later[0], 7, WHEN.replace(second=1))
    given = batch(gone, good, *changed, (f"file:{tmp_path}", 4, WHEN))
    (kept, contents), second = LocalReader().contents([given, batch(last)])
    assert contents == [b"good"]
    assert kept.column("path").to_pylist() == [good[0]]
    assert second[1] == [b"changed"]


def test_a_file_that_may_not_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    status = (tmp_path / "folder.jpg").stat()
    listed = (f"file:{tmp_path}/folder.jpg", status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
    ((kept, contents),) = LocalReader().contents([batch(listed)])
    assert (kept.num_rows, contents) == (0, [])


def test_what_reads_a_location_goes_to_the_workers() -> None:
    assert reader(Location.parse("/images"), None) == LocalReader()
    aws = Aws("eu-west-3", "http://127.0.0.1:1")
    assert aws.s3  # a client can't be pickled
    made = pickle.loads(pickle.dumps(reader(Location.parse("s3://fruits/images"), aws)))
    assert made == BucketReader("eu-west-3", "http://127.0.0.1:1")


def put(bucket: Bucket, key: str, content: bytes) -> tuple[str, int, datetime]:
    """An object, as it is listed."""
    bucket.put(key, content)
    head = bucket.s3.client().head_object(Bucket=bucket.name, Key=key)
    return f"s3a://{bucket.name}/{key}", len(content), head["LastModified"]


@pytest.fixture
def keys(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in bucket.s3.environment.items():
        monkeypatch.setenv(name, value)
    reading.worker_client.cache_clear()  # a client keeps the keys that it was made with
    return bucket


@pytest.mark.s3
def test_objects_are_read_by_one_request_each_in_their_order(keys: Bucket) -> None:
    listed = [put(keys, f"a b+%20ü/{number}", b"%d" % number) for number in range(150)]
    before = len(keys.requests("GetObject", "HeadObject"))
    made = BucketReader(REGION, keys.s3.server.url).contents([batch(*listed[:64]), batch(*listed[64:])])
    assert [content for _, contents in made for content in contents] == [b"%d" % number for number in range(150)]
    assert len(keys.requests("GetObject", "HeadObject")) == before + 150


@pytest.mark.s3
def test_objects_that_are_gone_or_have_changed_are_left_out(keys: Bucket) -> None:
    good, longer = put(keys, "good", b"good"), put(keys, "longer", b"longer")
    gone = (f"s3a://{keys.name}/gone", 4, WHEN)
    later = (good[0], 4, datetime.fromtimestamp(0, UTC))
    given = batch(gone, good, (longer[0], 4, longer[2]), later)
    ((kept, contents),) = BucketReader(REGION, keys.s3.server.url).contents([given])
    assert contents == [b"good"]
    assert kept.column("path").to_pylist() == [good[0]]


@pytest.mark.s3
@pytest.mark.parametrize("broken", [TRIES - 1, TRIES])
def test_an_object_whose_answer_breaks_off_is_asked_for_again(keys: Bucket, broken: int) -> None:
    listed = put(keys, "image", b"image")
    when = format_datetime(listed[2].astimezone(UTC), usegmt=True)
    cut = f"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nLast-Modified: {when}\r\n\r\nim"
    with standing_before(keys.s3.server) as front:
        front.answer = lambda _: cut.encode() if len(front.heads) <= broken else None
        made = BucketReader(REGION, front.url).contents([batch(listed)])
        if broken < TRIES:
            assert [contents for _, contents in made] == [[b"image"]]
        else:
            with pytest.raises(VergerError, match=rf"^s3://{keys.name}/image: .*; check the network and --endpoint"):
                list(made)
        assert len(front.heads) == TRIES


@pytest.mark.s3
def test_what_s3_refuses_is_one_line(keys: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    (path, size, when) = put(keys, "image", b"image")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(VergerError, match=rf"^s3://{keys.name}/image: GetObject was refused: SignatureDoesNotMatch"):
        list(BucketReader(REGION, keys.s3.server.url).contents([batch((path, size, when))]))


@pytest.mark.s3
def test_objects_are_asked_for_side_by_side_and_ahead(keys: Bucket) -> None:
    """While the first batch is held, the second one is fetched; never more than that."""
    listed = [put(keys, str(number), b"x") for number in range(3 * REQUESTS)]
    most = 0
    under_way = 0
    lock = threading.Lock()

    def slow(_: bytes) -> None:
        nonlocal most, under_way
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.05)
        with lock:
            under_way -= 1

    with standing_before(keys.s3.server) as front:
        front.answer = slow
        parts = [batch(*listed[at : at + REQUESTS]) for at in range(0, len(listed), REQUESTS)]
        made = BucketReader(REGION, front.url).contents(parts)
        next(made)
        end = time.monotonic() + 20
        while len(front.heads) < 2 * REQUESTS:
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(0.2)
        assert len(front.heads) == 2 * REQUESTS
        assert sum(len(contents) for _, contents in made) == 2 * REQUESTS
    assert REQUESTS // 2 < most <= REQUESTS
