"""One writer a store at a time.

Delta's appends are atomic, yet two runs on one store would embed the same images twice, and Delta's own log on S3 loses
a commit when two drivers make it at once. The writer holds a lease: a file or an object that names it and that it
renews. A run that finds the lease of another looks whether its owner lives. Of a process of this machine that is known
at once. Of another machine's, which may be a pod that was deleted, either the next renewal shows it, and this run ends
with one line, or none comes until EXPIRY, and this run takes over.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from verger.errors import VergerError

EXPIRY = 120.0  # seconds without renewal after which an owner counts as gone
RENEWAL = 5.0  # seconds between renewals
LOOK = 1.0  # seconds between looks at the lease of another
PATIENCE = 45.0  # seconds without renewal after which an owner gives up, long before others may take over
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

    @classmethod
    def read(cls, content: bytes) -> Owner | None:
        """None for what a crash cut off in mid-write: that is nobody's."""
        try:
            return cls(**json.loads(content))
        except (ValueError, TypeError):
            return None

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True)
class Claim:
    """What stands in the place of the lease."""

    owner: Owner | None
    age: float  # seconds since it was renewed
    tag: str  # changes with every write

    def is_free(self) -> bool:
        if self.owner is None or self.age > EXPIRY:
            return True
        return self.owner.is_here and not _is_running(self.owner.pid)

    def __str__(self) -> str:
        owner = self.owner
        return f"run {owner.run} (process {owner.pid} on {owner.host})" if owner else "another run"


class Place(Protocol):
    """Where a lease is kept: each write names the tag of what it replaces, and fails when that is no longer there."""

    def read(self) -> Claim | None: ...

    def write(self, owner: Owner, replacing: str | None) -> bool: ...

    def remove(self, tag: str, /) -> None: ...


@dataclass(frozen=True)
class LocalPlace:
    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def read(self) -> Claim | None:
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            return None
        owner = Owner.read(content)
        return Claim(owner, time.time() - (owner.renewed if owner else 0.0), content.hex())

    def write(self, owner: Owner, replacing: str | None) -> bool:
        with self._locked():
            if self._tag() != replacing:
                return False
            partial = self._file.with_suffix(f".{os.getpid()}")
            partial.write_bytes(owner.to_bytes())
            partial.replace(self._file)
            return True

    def remove(self, tag: str) -> None:
        with self._locked():
            if self._tag() == tag:
                self._file.unlink()

    @property
    def _file(self) -> Path:
        return self.folder / NAME

    def _tag(self) -> str | None:
        claim = self.read()
        return claim.tag if claim else None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Looking and writing are one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class Lease:
    """Usage: `with Lease(place, run) as lease: ...; lease.check()` before each commit.

    `lost` ends with an error as soon as it is known that the store is not ours to write, or is away for good: who waits
    for something long waits for it as well.
    """

    def __init__(self, place: Place | Path, run: str, say: Callable[[str], None] = print) -> None:
        self._place = LocalPlace(place) if isinstance(place, Path) else place
        self._run = run
        self._say = say
        self._over = threading.Event()
        self.lost: Future[None] = Future()
        self._renewer = threading.Thread(target=self._renew_for_ever, name="verger-lease", daemon=True)

    def __enter__(self) -> Lease:
        found = self._claimed()
        if found is not None and found.owner is not None and not found.owner.is_here:
            found = self._outwaited(found)
        if found is not None:
            raise StoreBusy(
                f"{self._place}: {found} is writing to this store; wait for it to end, or give another --store"
            )
        self._renewer.start()
        return self

    def _claimed(self) -> Claim | None:
        """Claim the store: None when it is ours, else the claim that stands in the way."""
        found = self._place.read()
        if found is None or found.is_free():
            if self._place.write(self._owner(), found.tag if found else None):
                return None
            found = self._place.read()
        if self._is_ours(found):  # the write was done, and its answer lost on the way
            return None
        return found or Claim(None, 0.0, "")  # who won is done already

    def _outwaited(self, found: Claim) -> Claim | None:
        """Watch the lease of an owner elsewhere until it is renewed or released: that owner lives. Or until it expires,
        and is ours: None."""
        self._say(
            f"{self._place}: {found} wrote to this store {found.age:.0f} s ago; looking whether it lives, for "
            f"{max(EXPIRY - found.age, 0):.0f} s at most"
        )
        while True:
            time.sleep(LOOK)
            now = self._place.read()
            if now is None or now.tag != found.tag:
                return found
            if now.is_free():
                return self._claimed()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Release it; where that can't be done, it expires: what ended the run is the error to tell.

        One that is lost is left alone: it is another's, or else of a run that may still have a commit under way.
        """
        self._over.set()
        if self.lost.done():
            return
        self._renewer.join(1)  # it may be trying for a minute: what it writes then finds no lease of ours to replace
        with suppress(VergerError):
            claim = self._place.read()
            if claim is not None and self._is_ours(claim):
                self._place.remove(claim.tag)

    def check(self) -> None:
        """LeaseLost if the store is no longer ours to write."""
        if self.lost.done():
            self.lost.result()
        if not self._is_ours(self._place.read()):
            raise self._taken_over()

    def _renew_for_ever(self) -> None:
        last = time.monotonic()
        while not self._over.wait(RENEWAL):
            try:
                if not self._renewed():
                    return self.lost.set_exception(self._taken_over())
                last = time.monotonic()
            except VergerError as error:  # a store that is away for a while is not lost
                if time.monotonic() - last > PATIENCE:
                    return self.lost.set_exception(error)
        return None

    def _taken_over(self) -> LeaseLost:
        return LeaseLost(f"{self._place}: another run took this store over; start this one again")

    def _renewed(self) -> bool:
        claim = self._place.read()
        if claim is None or not self._is_ours(claim):
            return False
        return self._place.write(self._owner(), claim.tag) or self._is_ours(self._place.read())

    def _is_ours(self, claim: Claim | None) -> bool:
        return claim is not None and claim.owner is not None and claim.owner.run == self._run

    def _owner(self) -> Owner:
        return Owner(self._run, socket.gethostname(), os.getpid(), time.time())


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
