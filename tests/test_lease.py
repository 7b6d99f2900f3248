"""Real processes: a lease that is tried only inside one process proves nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from verger import lease
from verger.errors import VergerError
from verger.lease import EXPIRY, NAME, RENEWAL, Lease, LeaseLost, StoreBusy

from tests.support import eventually, one_line

HOLD = """
import sys
from pathlib import Path
from verger.lease import Lease
with Lease(Path(sys.argv[1]), "theirs"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease until its input ends."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def written(folder: Path, **other: Any) -> Path:
    """A lease file as a run of another machine leaves it."""
    owner = {"run": "theirs", "host": "elsewhere", "pid": os.getpid(), "renewed": time.time(), **other}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(json.dumps(owner))
    return folder


def owner(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / NAME).read_text())
    return content


def test_a_lease_names_its_owner_and_is_released_at_the_end(tmp_path: Path) -> None:
    began = time.time()
    with Lease(tmp_path / "store", "ours") as held:
        held.check()
        found = owner(tmp_path / "store")
        assert (found["run"], found["host"], found["pid"]) == ("ours", socket.gethostname(), os.getpid())
        assert began <= found["renewed"] <= time.time()
    assert not (tmp_path / "store" / NAME).exists()


def test_it_leaves_only_names_that_spark_and_delta_skip(tmp_path: Path) -> None:
    with Lease(tmp_path, "ours"):
        assert all(entry.name.startswith(("_", ".")) for entry in tmp_path.iterdir())
    assert all(entry.name.startswith(("_", ".")) for entry in tmp_path.iterdir())


def test_it_is_released_when_the_run_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Lease(tmp_path, "ours"):
        raise KeyError
    with Lease(tmp_path, "next") as held:
        held.check()


def test_a_second_process_is_refused_with_the_first_ones_name(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(StoreBusy) as error, Lease(tmp_path, "ours"):
            pytest.fail("both hold the lease")
        one_line(error, str(tmp_path), "theirs", str(process.pid), socket.gethostname(), "wait for it to end")
        assert owner(tmp_path)["run"] == "theirs"


def test_a_second_run_of_the_same_process_is_refused(tmp_path: Path) -> None:
    with Lease(tmp_path, "first"), pytest.raises(StoreBusy, match="first"), Lease(tmp_path, "second"):
        pytest.fail("both hold the lease")


def test_other_stores_are_free(tmp_path: Path) -> None:
    with holder(tmp_path / "a"), Lease(tmp_path / "b", "ours") as held:
        held.check()


def test_it_is_free_when_its_owner_has_ended(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.communicate()
        assert process.returncode == 0
        with Lease(tmp_path, "ours") as held:
            held.check()


def test_it_is_taken_over_at_once_when_its_owner_was_killed(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert owner(tmp_path)["run"] == "theirs"
        with Lease(tmp_path, "ours") as held:
            held.check()
            assert owner(tmp_path)["run"] == "ours"


def test_an_owner_on_another_machine_lives_when_it_renews_or_releases(tmp_path: Path) -> None:
    def renew() -> None:
        written(tmp_path, renewed=time.time())

    def release() -> None:
        (tmp_path / NAME).unlink()

    for sign_of_life in (renew, release):
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()  # its process id says nothing about another machine's processes
        written(tmp_path, pid=gone.pid, renewed=time.time() - 3)
        timer = threading.Timer(1.5, sign_of_life)
        timer.start()
        with pytest.raises(StoreBusy) as error, Lease(tmp_path, "ours"):
            pytest.fail("both hold the lease")
        timer.join()
        one_line(error, "theirs", "elsewhere")


def test_an_owner_on_another_machine_that_is_silent_is_outwaited(tmp_path: Path) -> None:
    said: list[str] = []
    written(tmp_path, renewed=time.time() - EXPIRY + 2.5)
    began = time.monotonic()
    with Lease(tmp_path, "ours", said.append) as held:
        held.check()
        assert time.monotonic() - began >= 2.5
        assert owner(tmp_path)["run"] == "ours"
    assert said == [
        f"{tmp_path}: run theirs (process {os.getpid()} on elsewhere) wrote to this store 118 s ago; looking whether "
        "it lives, for 2 s at most"
    ]


@pytest.mark.parametrize("host", ["elsewhere", socket.gethostname()], ids=["elsewhere", "a stopped process here"])
def test_an_expired_lease_is_taken_over(tmp_path: Path, host: str) -> None:
    written(tmp_path, host=host, renewed=time.time() - EXPIRY - 1)
    with Lease(tmp_path, "ours") as held:
        held.check()
        assert owner(tmp_path)["run"] == "ours"


def test_a_lease_lives_through_several_missed_renewals() -> None:
    assert EXPIRY >= 4 * RENEWAL


@pytest.mark.parametrize("text", ["", "{", '{"run": "x"}', "[]", "null", '{"other": 1}'])
def test_a_lease_cut_off_by_a_crash_is_nobodys(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with Lease(tmp_path, "ours") as held:
        held.check()


@pytest.mark.parametrize("happening", ["taken over", "removed", "cut off"])
def test_a_lost_lease_is_noticed(tmp_path: Path, happening: str) -> None:
    with Lease(tmp_path, "ours") as held:
        held.check()
        if happening == "taken over":
            written(tmp_path)
        elif happening == "removed":
            (tmp_path / NAME).unlink()
        else:
            (tmp_path / NAME).write_text("{")
        with pytest.raises(LeaseLost) as error:
            held.check()
        one_line(error, str(tmp_path), "start this one again")


def test_who_lost_the_lease_leaves_the_new_owners_alone(tmp_path: Path) -> None:
    with Lease(tmp_path, "ours"):
        written(tmp_path)
    assert owner(tmp_path)["run"] == "theirs"


def test_it_is_renewed_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL", 0.02)
    with Lease(tmp_path, "ours") as held:
        first = owner(tmp_path)["renewed"]
        eventually(lambda: owner(tmp_path)["renewed"] > first)
        held.check()
    assert not any(thread.name == "verger-lease" for thread in threading.enumerate())


def test_it_is_not_renewed_over_the_new_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL", 0.02)
    with Lease(tmp_path, "ours") as held:
        written(tmp_path)
        eventually(lambda: not any(thread.name == "verger-lease" for thread in threading.enumerate()))
        assert owner(tmp_path)["run"] == "theirs"
        written(tmp_path, run="ours")  # and once lost, it stays lost
        with pytest.raises(LeaseLost):
            held.check()


ROUNDS = 80
INSTANT = 0.005  # seconds: both start when the clock next shows a multiple of it


def race(folder: Path, name: str, start: Barrier, tried: Barrier, outcomes: Any) -> None:
    """Try to get the lease of each round's store at the same instant as the other process."""
    for number in range(ROUNDS):
        start.wait(20)
        instant = (time.monotonic() // INSTANT + 1) * INSTANT
        while time.monotonic() < instant:
            pass
        try:
            with Lease(folder / str(number), name) as held:
                tried.wait(20)  # hold it until the other one has tried
                held.check()
                outcomes.put((number, name))
        except StoreBusy:
            tried.wait(20)


def test_of_two_processes_that_start_at_once_exactly_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, tried, outcomes = context.Barrier(2), context.Barrier(2), context.Queue()
    racers = [
        context.Process(target=race, args=(tmp_path, name, start, tried, outcomes), daemon=True) for name in ("a", "b")
    ]
    for racer in racers:
        racer.start()
    winners = [outcomes.get(timeout=30) for _ in range(ROUNDS)]
    for racer in racers:
        racer.join(20)
        assert racer.exitcode == 0
    assert sorted(number for number, _ in winners) == list(range(ROUNDS))
    assert outcomes.empty()


def test_both_ways_to_fail_are_errors_of_the_program_not_of_the_settings() -> None:
    assert issubclass(StoreBusy, VergerError)
    assert StoreBusy.exit_code == LeaseLost.exit_code == 1
