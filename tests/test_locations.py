from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from verger.errors import SettingsError
from verger.locations import Location

from tests.support import one_line

HERE = str(Path.cwd())
HOME = str(Path.home())

LOCAL = {
    "/data/fruits": "/data/fruits",
    "/data/fruits/": "/data/fruits",
    "fruits": f"{HERE}/fruits",
    "./fruits": f"{HERE}/fruits",
    ".": HERE,
    "~/fruits": f"{HOME}/fruits",
    "~": HOME,
    "my fruits/red ones": f"{HERE}/my fruits/red ones",
    "/données/été/梨": "/données/été/梨",
    "/data/100%/a%20b": "/data/100%/a%20b",
    "/data/fruits[2]/*?": "/data/fruits[2]/*?",
    "/2024:05/x": "/2024:05/x",
    "file:/data/fruits": "/data/fruits",
    "file:/data/a%20b": "/data/a%20b",
    "file:///data/fruits/": "/data/fruits",
    "file:///data/a%20b/%C3%A9t%C3%A9": "/data/a b/été",
    "FILE:///data": "/data",
}

BUCKETS = {
    "s3://fruits/test": "fruits/test",
    "s3a://fruits/test": "fruits/test",
    "S3://fruits/test/": "fruits/test",
    "s3://fruits": "fruits",
    "s3://fruits/": "fruits",
    "s3://fruits/a b/é%20": "fruits/a b/é%20",
}


@pytest.mark.parametrize("text", LOCAL)
def test_local_folders_have_one_form(text: str) -> None:
    location = Location.parse(text)
    assert location == Location("file", LOCAL[text])
    assert location.is_local
    assert location.local == Path(LOCAL[text])
    assert location.uri == f"file:{LOCAL[text]}"
    assert str(location) == LOCAL[text]


@pytest.mark.parametrize("text", BUCKETS)
def test_places_in_buckets_have_one_form(text: str) -> None:
    location = Location.parse(text)
    assert location == Location("s3a", BUCKETS[text])
    assert not location.is_local
    assert location.uri == f"s3a://{BUCKETS[text]}"
    assert str(location) == f"s3://{BUCKETS[text]}"


@pytest.mark.parametrize("text", [*LOCAL, *BUCKETS])
def test_every_printed_form_reads_back_the_same(text: str) -> None:
    location = Location.parse(text)
    assert Location.parse(location.uri) == location
    assert Location.parse(str(location)) == location


# pathlib keeps two leading slashes: the URI of //data must not be file://data, where data is a host.
@example("/data")
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).map("/{}".format))
def test_any_absolute_path_survives_its_uri(path: str) -> None:
    location = Location.parse(path)
    assert Location.parse(location.uri) == location
    assert Location.parse((location / "x").uri) == location / "x"


def test_a_name_below_a_location() -> None:
    assert Location.parse("/data") / "run.json" == Location.parse("/data/run.json")
    assert (Location.parse("s3://fruits/out/") / "run.json").uri == "s3a://fruits/out/run.json"


def test_a_bucket_is_no_local_folder() -> None:
    with pytest.raises(SettingsError) as error:
        _ = Location.parse("s3://fruits/test").local
    one_line(error, "s3://fruits/test", "only a local folder")


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_an_empty_location_is_refused(text: str) -> None:
    with pytest.raises(SettingsError) as error:
        Location.parse(text)
    one_line(error, "empty", "s3://bucket/prefix")


@pytest.mark.parametrize(
    "text", ["hdfs://node/data", "http://host/data", "gs://b/x", "abfss:x", "C:\\fruits", "s3n://b"]
)
def test_an_unknown_scheme_is_refused(text: str) -> None:
    with pytest.raises(SettingsError) as error:
        Location.parse(text)
    one_line(error, text, "unknown scheme", "use a local folder, file:// or s3://")


@pytest.mark.parametrize("text", ["s3://", "s3a:///", "s3:", "s3:///prefix"])
def test_a_bucket_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(SettingsError) as error:
        Location.parse(text)
    one_line(error, text, "no bucket", "s3://bucket/prefix")


@pytest.mark.parametrize("text", ["file:fruits", "file://fruits/test", "file://localhost/fruits", "file:", "file://"])
def test_a_file_location_without_an_absolute_path_is_refused(text: str) -> None:
    with pytest.raises(SettingsError) as error:
        Location.parse(text)
    one_line(error, text, "absolute path", "file:///folder")


def test_the_home_of_nobody_is_refused() -> None:
    with pytest.raises(SettingsError) as error:
        Location.parse("~nobody-by-this-name/fruits")
    one_line(error, "~nobody-by-this-name")
