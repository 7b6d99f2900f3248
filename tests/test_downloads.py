"""Against a real server on this machine, which fails in every way a real one does."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest
import urllib3
from verger import downloads
from verger.downloads import DownloadError, fetch

from tests.support import Answer, one_line, serving

BODY = bytes(range(256)) * 12_000  # 3 MB: a few chunks
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "RETRIES", downloads.RETRIES.new(backoff_factor=0.01))
    monkeypatch.setattr(downloads, "TIMEOUT", urllib3.Timeout(connect=2, read=0.5))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "weights" / "mobilenet_1.0.h5"


def nothing_left(target: Path) -> None:
    assert list(target.parent.iterdir()) == []


def refusal(url: str, target: Path, sha256: str | None = None) -> pytest.ExceptionInfo[DownloadError]:
    """Fetching fails, in one line that names the address."""
    with pytest.raises(DownloadError) as error:
        fetch(url, target, sha256=sha256)
    one_line(error, url)
    return error


def good(answer: Answer, _: int) -> None:
    answer.give(BODY)


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_file_is_fetched_whole(target: Path, sha256: str | None) -> None:
    with serving(good) as server:
        assert fetch(f"{server.url}/a/b.h5", target, sha256=sha256) == target
        assert server.requests == ["/a/b.h5"]
    assert target.read_bytes() == BODY
    assert [entry.name for entry in target.parent.iterdir()] == [target.name]


def test_an_earlier_file_is_replaced(target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(b"earlier")
    with serving(good) as server, target.open("rb") as reader:
        fetch(f"{server.url}/x", target)
        assert reader.read() == b"earlier"  # whoever reads it already is not disturbed
    assert target.read_bytes() == BODY


def test_an_empty_file_is_a_file(target: Path) -> None:
    with serving(lambda answer, _: answer.give(b"")) as server:
        fetch(f"{server.url}/x", target)
    assert target.read_bytes() == b""


def test_a_redirection_is_followed(target: Path) -> None:
    def answer(it: Answer, number: int) -> None:
        if number:
            return it.give(BODY)
        it.send_response(302)
        it.send_header("Location", "/elsewhere")
        it.send_header("Content-Length", "0")
        return it.end_headers()

    with serving(answer) as server:
        fetch(f"{server.url}/x", target, sha256=SHA256)
        assert server.requests == ["/x", "/elsewhere"]


def test_a_body_of_unknown_length_is_taken(target: Path) -> None:
    def answer(it: Answer, _: int) -> None:
        it.send_response(200)
        it.end_headers()
        it.wfile.write(BODY)

    with serving(answer) as server:
        fetch(f"{server.url}/x", target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(target: Path, status: int) -> None:
    with serving(lambda answer, number: answer.give(*((b"busy", status) if number < 2 else (BODY,)))) as server:
        fetch(f"{server.url}/x", target, sha256=SHA256)
        assert len(server.requests) == 3
    assert target.read_bytes() == BODY


def test_a_server_that_stays_busy_is_given_up(target: Path) -> None:
    with serving(lambda answer, _: answer.give(b"busy", 503)) as server:
        refusal(f"{server.url}/x", target)
        assert len(server.requests) == 4
    nothing_left(target)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_not_asked_again(target: Path, status: int) -> None:
    with serving(lambda answer, _: answer.give(b"<html>no</html>", status)) as server:
        assert f"HTTP {status}" in str(refusal(f"{server.url}/x", target).value)
        assert len(server.requests) == 1
    nothing_left(target)


def test_other_bytes_than_the_pinned_ones_are_refused(target: Path) -> None:
    with serving(lambda answer, _: answer.give(BODY + b"!")) as server:
        error = refusal(f"{server.url}/x", target, SHA256)
    assert SHA256 in str(error.value)
    assert hashlib.sha256(BODY + b"!").hexdigest() in str(error.value)
    nothing_left(target)


@pytest.mark.parametrize("sha256", [None, SHA256])
@pytest.mark.parametrize("sent", [0, 1000, len(BODY) - 1])
def test_a_body_cut_off_is_refused(target: Path, sent: int, sha256: str | None) -> None:
    with serving(lambda answer, _: answer.give(BODY[:sent], length=len(BODY))) as server:
        refusal(f"{server.url}/x", target, sha256)
    nothing_left(target)


def test_an_earlier_file_outlives_a_failure(target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(b"earlier")
    with serving(lambda answer, _: answer.give(BODY[:1000], length=len(BODY))) as server:
        refusal(f"{server.url}/x", target)
    assert target.read_bytes() == b"earlier"
    assert [entry.name for entry in target.parent.iterdir()] == [target.name]


def test_a_half_written_file_never_has_the_files_name(target: Path) -> None:
    seen: list[list[str]] = []

    def look(*_: object) -> None:
        seen.append([entry.name for entry in target.parent.iterdir()])

    with serving(good) as server:
        fetch(f"{server.url}/x", target, tell=look)
    assert len(seen) >= 3
    assert all(names != [] and target.name not in names for names in seen)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_nobody_listening_is_one_line(target: Path) -> None:
    error = refusal(f"http://127.0.0.1:{closed_port()}/x", target)
    assert "check the network" in str(error.value)
    nothing_left(target)


def test_a_name_that_does_not_resolve_is_one_line(target: Path) -> None:
    refusal("http://nowhere.invalid/x", target)
    nothing_left(target)


def test_a_server_that_hangs_is_given_up(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "RETRIES", urllib3.Retry(total=0))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        refusal(f"http://127.0.0.1:{silent.getsockname()[1]}/x", target)
    nothing_left(target)


def test_what_is_no_http_is_one_line(target: Path) -> None:
    def answer(it: Answer, _: int) -> None:
        it.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n")

    with serving(answer) as server:
        refusal(f"{server.url}/x", target)
    nothing_left(target)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "no address", "http://"])
def test_an_address_that_is_none_is_one_line(target: Path, url: str) -> None:
    refusal(url, target)
    nothing_left(target)


def test_progress_is_told_up_to_the_last_byte(target: Path) -> None:
    told: list[tuple[str, int, int]] = []
    with serving(good) as server:
        fetch(f"{server.url}/x", target, tell=lambda *step: told.append(step))
    sizes = [done for _, done, _ in told]
    assert sizes == sorted(sizes)
    assert sizes[-1] == len(BODY)
    assert {total for _, _, total in told} == {len(BODY)}


def test_progress_is_told_with_the_files_name(target: Path) -> None:
    told: set[str] = set()
    with serving(good) as server:
        fetch(f"{server.url}/x", target, tell=lambda name, *_: told.add(name))
    assert told == {target.name}
