"""With executables that say what `java -version` says."""

from __future__ import annotations

from pathlib import Path

import pytest
from verger import java
from verger.errors import VergerError

from tests.support import one_line

PRINTED = {
    8: 'java version "1.8.0_402"',
    11: 'openjdk version "11.0.22" 2024-01-16',
    17: 'openjdk version "17.0.10" 2024-01-16',
    21: 'openjdk version "21" 2023-09-19',
    25: 'openjdk version "25-ea" 2025-09-16',
}


def install(home: Path, release: int, *before: str) -> Path:
    """A JAVA_HOME whose java says that it is of `release`."""
    executable = home / "bin" / "java"
    executable.parent.mkdir(parents=True)
    lines = [*before, PRINTED[release], "OpenJDK Runtime Environment"]
    executable.write_text("#!/bin/sh\n" + "".join(f"echo '{line}' >&2\n" for line in lines))
    executable.chmod(0o755)
    return home


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder above bin/ that a java is looked for in; there is none yet."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path" / "bin"))
    return tmp_path / "path"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def none_found(cache: Path) -> None:
    with pytest.raises(VergerError) as error:
        java.home(cache)
    one_line(error, "no Java 17 or newer", "apt install", "JAVA_HOME")


@pytest.mark.parametrize("release", [17, 21, 25])
def test_the_machines_own_java_will_do(path: Path, cache: Path, release: int) -> None:
    install(path, release)
    assert java.home(cache) is None


def record(home: Path, version: str) -> None:
    (home / "release").write_text(f'IMPLEMENTOR="Debian"\nJAVA_VERSION="{version}"\nJAVA_VERSION_DATE="2025-04-15"\n')


@pytest.mark.parametrize(
    ("version", "enough"), [("1.8.0_402", False), ("11.0.22", False), ("17.0.15", True), ("25-ea", True)]
)
def test_a_home_that_records_its_version_is_not_asked(path: Path, cache: Path, version: str, enough: bool) -> None:
    install(path, 8 if enough else 17)  # what it would say
    record(path, version)
    if enough:
        assert java.home(cache) is None
    else:
        none_found(cache)


def test_a_link_on_the_path_is_followed_to_what_its_home_records(tmp_path: Path, path: Path, cache: Path) -> None:
    home = install(tmp_path / "jdk", 8)
    record(home, "21.0.2")
    (path / "bin").mkdir(parents=True)
    (path / "bin" / "java").symlink_to(home / "bin" / "java")
    assert java.home(cache) is None


def test_a_record_that_says_nothing_of_a_version_is_no_answer(path: Path, cache: Path) -> None:
    install(path, 17)
    (path / "release").write_text("NAME=another\n")
    assert java.home(cache) is None


def test_the_java_of_java_home_will_do(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(install(tmp_path / "own", 21)))
    assert java.home(cache) is None


def test_what_a_java_picked_up_is_not_its_version(path: Path, cache: Path) -> None:
    install(path, 17, "Picked up JAVA_TOOL_OPTIONS: -Dapp=8")
    assert java.home(cache) is None


def test_no_java_at_all_is_one_line(cache: Path) -> None:
    none_found(cache)


@pytest.mark.parametrize("release", [8, 11])
def test_an_old_java_will_not_do(path: Path, cache: Path, release: int) -> None:
    install(path, release)
    none_found(cache)


@pytest.mark.parametrize("release", [None, 8, 11])
def test_the_caches_java_stands_in(path: Path, cache: Path, release: int | None) -> None:
    if release:
        install(path, release)
    mine = install(cache / "jre" / "jdk-17.0.10+7-jre", 17)
    assert java.home(cache) == mine


def test_the_machines_own_java_is_preferred(path: Path, cache: Path) -> None:
    install(path, 17)
    install(cache / "jre" / "jdk-21", 21)
    assert java.home(cache) is None


def test_an_old_java_home_hides_the_paths_java_from_spark_and_so_from_us(
    tmp_path: Path, path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(path, 17)
    monkeypatch.setenv("JAVA_HOME", str(install(tmp_path / "own", 8)))
    none_found(cache)
    mine = install(cache / "jre" / "jdk-17", 17)
    assert java.home(cache) == mine


def test_an_old_java_in_the_cache_will_not_do(cache: Path) -> None:
    install(cache / "jre" / "jdk-11", 11)
    none_found(cache)


def test_a_java_home_that_is_gone_is_none(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "removed"))
    none_found(cache)


@pytest.mark.parametrize("mode", [0o644, 0o755], ids=["not executable", "of another machine"])
def test_a_java_that_does_not_start_is_none(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    executable = install(tmp_path / "own", 17) / "bin" / "java"
    executable.write_bytes(b"\x7fELF of another machine")
    executable.chmod(mode)
    if mode == 0o644:
        record(tmp_path / "own", "17.0.15")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "own"))
    none_found(cache)
