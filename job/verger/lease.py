"""One writer a store at a time.

Delta's appends are atomic, yet two runs on one store would embed the same images twice. The writer holds a lease: a
file that names it and that it renews. A run finds the lease of another and stops with one line, or takes it over when
its owner is gone: at once if it was a process of this machine, after EXPIRY otherwise.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from verger.errors import VergerError

EXPIRY = 120.0  # seconds without renewal after which an owner counts as gone
RENEWAL = 15.0  # seconds between renewals
NAME = "_verger_lease.json"  # Spark and Delta skip names that begin with _


class StoreBusy(VergerError):
    """Another run writes to the store."""


class LeaseLost(VergerError):
    """Another run took the store over while this one was stopped for longer than EXPIRY."""


@dataclass(frozen=True)
class Owner:
    run: str
    host: str
    pid: int
    renewed: float  # seconds since 1970

    def is_gone(self, now: float) -> bool:
        if self.host == socket.gethostname() and not _is_running(self.pid):
            return True
        return now - self.renewed > EXPIRY


class Lease:
    """Usage: `with Lease(folder, run) as lease: ...; lease.check()` before each commit."""

    def __init__(self, folder: Path, run: str) -> None:
        self._file = folder / NAME
        self._run = run
        self._over = threading.Event()
        self._lost = False
        self._renewer = threading.Thread(target=self._renew_for_ever, name="verger-lease", daemon=True)

    def __enter__(self) -> Lease:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            owner = self._owner()
            if owner is not None and not owner.is_gone(time.time()):
                raise StoreBusy(
                    f"{self._file.parent}: run {owner.run} (process {owner.pid} on {owner.host}) is writing to this "
                    "store; wait for it to end, or give another --store"
                )
            self._write()
        self._renewer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        self._renewer.join()
        with self._locked():
            if self._is_ours():
                self._file.unlink()

    def check(self) -> None:
        """LeaseLost if the store is no longer ours to write."""
        with self._locked():
            if self._lost or not self._is_ours():
                raise LeaseLost(f"{self._file.parent}: another run took this store over; start this one again")

    def _renew_for_ever(self) -> None:
        while not self._over.wait(RENEWAL):
            with self._locked():
                if not self._is_ours():
                    self._lost = True
                    return
                self._write()

    def _is_ours(self) -> bool:
        owner = self._owner()
        return owner is not None and owner.run == self._run

    def _owner(self) -> Owner | None:
        try:
            return Owner(**json.loads(self._file.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):  # cut off by a crash in mid-write: nobody's
            return None

    def _write(self) -> None:
        owner = Owner(self._run, socket.gethostname(), os.getpid(), time.time())
        partial = self._file.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(asdict(owner)))
        partial.replace(self._file)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Looking and writing are one step: no two runs can both find the lease free."""
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
