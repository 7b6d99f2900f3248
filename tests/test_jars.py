from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from verger import jars
from verger.downloads import DownloadError
from verger.errors import VergerError
from verger.jars import Jar, ensure, locked

from tests.support import Answer, Server, one_line, serving

DELTA = {"3.5": "delta-spark_2.12", "4.0": "delta-spark_4.0_2.13", "4.1": "delta-spark_4.1_2.13"}


@pytest.mark.parametrize("series", DELTA)
def test_every_supported_spark_has_its_delta(series: str) -> None:
    found = locked(f"{series}.2")
    assert {jar.spark for jar in found} == {series}
    assert [jar.coordinate.split(":")[1] for jar in found] == [DELTA[series], "delta-storage"]
    assert len({jar.coordinate.split(":")[2] for jar in found}) == 1  # both of one Delta release


def test_every_line_of_the_lock_is_a_coordinate_and_a_sha256() -> None:
    lines = [line for line in jars.LOCK.read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(r"\d+\.\d+ [\w.-]+:[\w.-]+:[\w.-]+ [0-9a-f]{64}", line), line


def test_the_lock_pins_each_jar_once() -> None:
    all_of_them = [(jar.spark, jar.coordinate) for series in DELTA for jar in locked(series)]
    assert len(set(all_of_them)) == len(all_of_them)
    sums = {(jar.coordinate, jar.sha256) for series in DELTA for jar in locked(series)}
    assert len({coordinate for coordinate, _ in sums}) == len(sums)


def test_the_docs_say_what_each_jar_of_the_lock_is_for() -> None:
    text = (Path(__file__).parents[1] / "docs" / "image.md").read_text()
    told = {(name, spark) for name, sparks in re.findall(r"^\| `(.+\.jar)` \| (.+?) \| \w.+ \|$", text, re.MULTILINE)
            for spark in sparks.split(", ")}  # fmt: skip
    lines = [line.split() for line in jars.LOCK.read_text().splitlines() if line and not line.startswith("#")]
    pinned = [Jar(*line) for line in lines]
    assert told == {(jar.file, jar.spark) for jar in pinned}
    assert set(re.findall(r"[\w.-]+\.jar\b", text)) == {jar.file for jar in pinned}


@pytest.mark.parametrize("version", ["4.1.2", "4.1.0", "4.1", "4.1.2.dev0", "4.1.10"])
def test_only_the_series_of_a_spark_version_counts(version: str) -> None:
    assert locked(version) == locked("4.1.2")


@pytest.mark.parametrize("version", ["3.4.1", "4.10.0", "2.4.8", "4", ""])
def test_a_spark_without_pinned_jars_is_one_line(version: str) -> None:
    with pytest.raises(VergerError) as error:
        locked(version)
    one_line(error, f"PySpark {version}", "install one of 3.5, 4.0, 4.1")


def test_a_jar_is_a_file_and_an_address_of_maven_central() -> None:
    jar = Jar("4.1", "io.delta:delta-spark_4.1_2.13:4.4.0", "0" * 64)
    assert jar.file == "delta-spark_4.1_2.13-4.4.0.jar"
    assert jar.url == (
        "https://repo1.maven.org/maven2/io/delta/delta-spark_4.1_2.13/4.4.0/delta-spark_4.1_2.13-4.4.0.jar"
    )


def test_s3a_is_there_on_demand() -> None:
    with_s3 = [jar.coordinate.split(":")[1] for jar in locked("4.1.2", s3=True)]
    assert {"hadoop-aws", "spark-hadoop-cloud_2.13", "netty-nio-client", "arns"} <= set(with_s3)  # the last two hide
    assert "bundle" not in with_s3
    assert len(with_s3) == 2 + 35


def test_s3a_for_a_spark_that_has_none_is_one_line() -> None:
    with pytest.raises(VergerError) as error:
        locked("3.5.8", s3=True)
    one_line(error, "PySpark 3.5.8", "S3A")


# Fetching, from a server that stands in for Maven Central

CONTENT = {"one": b"PK one", "two": b"PK two"}
PATHS = [f"/io/delta/{name}/1.0/{name}-1.0.jar" for name in CONTENT]


def central(answer: Answer, _: int) -> None:
    answer.give(CONTENT[answer.path.split("/")[3]])


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "jars.lock"
    lines = [f"4.1 io.delta:{name}:1.0 {hashlib.sha256(data).hexdigest()}" for name, data in CONTENT.items()]
    file.write_text("# comment\n\n" + "\n".join(lines) + "\n")
    monkeypatch.setattr(jars, "LOCK", file)
    return file


def serve(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "CENTRAL", server.url)


@pytest.mark.usefixtures("lock")
def test_jars_are_fetched_once_in_the_order_of_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(central) as server:
        serve(server, monkeypatch)
        for _ in range(2):
            files = ensure("4.1.2", tmp_path / "cache")
            assert files == [tmp_path / "cache" / "jars" / f"{name}-1.0.jar" for name in CONTENT]
            assert [file.read_bytes() for file in files] == list(CONTENT.values())
        assert server.requests == PATHS


@pytest.mark.usefixtures("lock")
def test_a_changed_jar_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(central) as server:
        serve(server, monkeypatch)
        first, _ = ensure("4.1.2", tmp_path)
        first.write_bytes(b"PK changed")
        ensure("4.1.2", tmp_path)
        assert first.read_bytes() == CONTENT["one"]
        assert server.requests == [*PATHS, PATHS[0]]


@pytest.mark.usefixtures("lock")
def test_another_jar_than_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda answer, _: answer.give(b"PK evil")) as server:
        serve(server, monkeypatch)
        with pytest.raises(DownloadError) as error:
            ensure("4.1.2", tmp_path)
        one_line(error, f"{server.url}{PATHS[0]}", "is not the pinned")
    assert list((tmp_path / "jars").iterdir()) == []
