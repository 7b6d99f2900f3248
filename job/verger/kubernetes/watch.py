"""Look at a release again and again until its run ends; its exit code becomes this command's."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.console import Console

from verger import live
from verger.errors import RunFailed, SettingsError, VergerError
from verger.kubernetes.cluster import Release
from verger.kubernetes.snapshot import Snapshot, take
from verger.kubernetes.view import shown


def watch(release: Release, console: Console, interval: float, give_up_after: float | None) -> None:
    """Show a run until it ends; how it ended is raised, unless it ended well."""
    with shown(console) as tell:
        for snapshot in _snapshots(release, console, interval, give_up_after):
            tell(snapshot)
            end = snapshot.end
    if end is not None and end.code != 0:
        raise RunFailed(str(end.line), end.code)


def _snapshots(release: Release, console: Console, interval: float, give_up_after: float | None) -> Iterator[Snapshot]:
    """Each look, the last one at the end of the run."""
    began = time.monotonic()

    def look(before: Snapshot | None) -> Snapshot:
        try:
            return take(release)
        except SettingsError as error:
            if before is None:
                raise
            raise VergerError(f"{release.name}: uninstalled while it was watched; its logs are gone") from error

    for seen in live.looks(look, lambda snapshot: snapshot.end is not None, console, interval):
        yield seen
        waited = time.monotonic() - began
        if give_up_after is not None and waited >= give_up_after and not seen.started:
            why = seen.reason or "nobody says why"
            raise VergerError(f"{release.name}: has not started within --give-up-after {give_up_after:g} s: {why}")
