"""`verger kubernetes`: the client of the cluster is imported by the commands that need one, not by runs."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from verger.errors import LeftAlone

if TYPE_CHECKING:
    from verger.kubernetes.cluster import Release

app = typer.Typer(no_args_is_help=True, help="See what a run in a cluster is at, from anywhere.")

Name = Annotated[str, typer.Argument(metavar="RELEASE", help="The Helm release.")]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Its namespace; else the context's.")]
Context = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig; else the current one.")]


@app.command()
def watch(
    release: Name,
    namespace: Namespace = None,
    context: Context = None,
    interval: Annotated[float, typer.Option(min=0.2, metavar="SECONDS", help="Between two looks.")] = 2.0,
    give_up_after: Annotated[
        float | None, typer.Option(min=0.0, metavar="SECONDS", help="When the run has not started by then; else never.")
    ] = None,
) -> None:
    """Show a run until it ends: pods, stage, images a second, failures, and why it does not go on.

    Ends with the run's own exit code.
    """
    from rich.console import Console

    from verger.kubernetes.watch import watch as watch_release

    try:
        watch_release(_release(release, namespace, context), Console(), interval, give_up_after)
    except KeyboardInterrupt:
        again = f"verger kubernetes watch {release}"
        raise LeftAlone(f"stopped watching; the run goes on, `{again}` comes back to it") from None


@app.command()
def logs(
    release: Name,
    namespace: Namespace = None,
    context: Context = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for what comes.")] = False,
    executor: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of this executor, not the driver.")] = None,
) -> None:
    """Print what the driver, or an executor, printed."""
    from verger.kubernetes.logs import logs as lines

    with suppress(BrokenPipeError, KeyboardInterrupt):  # whoever reads this has seen enough
        for line in lines(_release(release, namespace, context), executor, follow):
            print(line, flush=follow)


@app.command(hidden=True)
def started(
    job: Annotated[str, typer.Argument(metavar="JOB")],
    deadline: Annotated[int, typer.Option(min=0, metavar="SECONDS", help="0 is none.")],
) -> None:
    """Give this pod's Job the deadline of a run, now that it has started: the one before was for the start."""
    release = _release(job, None, None)
    release.set_deadline(job, deadline or None)
    print(f"started; {job} may take {deadline} s" if deadline else f"started; {job} has no deadline")


def _release(name: str, namespace: str | None, context: str | None) -> Release:
    from verger.kubernetes.cluster import Release, connect

    client = connect(context)
    return Release(client, namespace or client.namespace, name)
