"""`verger emr`: the services are asked by the commands that need them, and imported then."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verger.emr.options import Options
from verger.emr.request import PASSED
from verger.errors import Away, LeftAlone, SettingsError
from verger.options import with_models
from verger.settings import Settings

if TYPE_CHECKING:
    from verger.emr.service import Emr, VirtualCluster

MACHINE = ("allow_static_keys", "prices", "config", "verbose")  # settings of this machine
TO_FIND = ("region", "residency", "policies", "endpoint", "attest_region", "allow_http", *MACHINE)
RUN = tuple(name for name in Options.model_fields if name != "config")
TEMPLATE = tuple(name for name in RUN if name not in ("attempts", "template", "parameters"))

app = typer.Typer(no_args_is_help=True, help="Run on EMR on EKS, and see what a run is at, from anywhere.")

Run = Annotated[str, typer.Argument(metavar="RUN", help="The id of the job run.")]
Interval = Annotated[float, typer.Option(min=0.2, metavar="SECONDS", help="Between two looks.")]


@app.command()
@with_models((Settings, (*PASSED, *MACHINE)), (Options, RUN))
def submit(
    settings: Settings,
    options: Options,
    *,
    wait: Annotated[bool, typer.Option(help="Show the run until it ends, with its exit code.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all, and print what `aws emr-containers start-job-run` takes.")
    ] = False,
    interval: Interval = 10.0,
) -> None:
    """Start a run of these settings, and show it until it ends. Prints the id of the job run."""
    from verger.emr.submission import from_template, submission

    made = from_template(settings, options) if options.template else submission(settings, options)
    _say(*made.notes)
    if dry_run:
        _say(*(f"to be put to {upload.target}: a pod template" for upload in made.uploads))
        _say(*made.estimated())
        print(json.dumps(made.request, indent=2))
        return
    token = made.request["clientToken"]
    try:
        run = made.start()
    except Away as error:
        raise Away(f"{error}; by `--client-token {token}`, the next try is the same run") from error
    print(run, flush=True)
    again = f"verger emr status {run} {_where(settings, made.cluster)} --wait"
    _say(f"job run {run} in virtual cluster {made.cluster.name}; `{again}` finds it again")
    if wait:
        _watch(made.emr, made.cluster, run, again, interval)


@app.command()
@with_models((Settings, TO_FIND), (Options, ("virtual_cluster",)))
def status(
    settings: Settings,
    options: Options,
    *,
    run: Run,
    wait: Annotated[bool, typer.Option(help="Show it until it ends.")] = False,
    interval: Interval = 10.0,
) -> None:
    """Show what a run is at. Ends with its exit code, once it has one."""
    from rich.console import Console

    from verger.emr.watch import look_once

    emr, cluster = _found(settings, options)
    if wait:
        _watch(emr, cluster, run, f"verger emr status {run} {_where(settings, cluster)} --wait", interval)
    else:
        look_once(emr, cluster.id, run, Console())


@app.command()
@with_models((Settings, TO_FIND), (Options, ("virtual_cluster",)))
def logs(
    settings: Settings,
    options: Options,
    *,
    run: Run,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for what comes.")] = False,
    executor: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of this executor, not the driver.")] = None,
    submitter: Annotated[bool, typer.Option("--submitter", help="Of the pod that ran spark-submit.")] = False,
    interval: Interval = 5.0,
) -> None:
    """Print what the driver, or another pod, printed."""
    from verger.emr.follow import lines

    emr, cluster = _found(settings, options)
    with suppress(BrokenPipeError, KeyboardInterrupt):  # whoever reads this has seen enough
        for line in lines(emr, cluster.id, run, executor, submitter, interval if follow else None):
            print(line, flush=follow)


@app.command()
@with_models((Settings, TO_FIND), (Options, ("virtual_cluster",)))
def cancel(settings: Settings, options: Options, *, run: Run) -> None:
    """End a run: what it has committed to the store is kept."""
    emr, cluster = _found(settings, options)
    emr.cancel(cluster.id, run)
    print(f"{run}: to be cancelled; what was committed to the store is kept, the next run goes on from there")


@app.command("list")
@with_models((Settings, TO_FIND), (Options, ("virtual_cluster",)))
def list_runs(
    settings: Settings,
    options: Options,
    *,
    most: Annotated[int, typer.Option(min=1, metavar="N", help="Runs that are shown.")] = 20,
) -> None:
    """List the runs of a virtual cluster, the newest first."""
    emr, cluster = _found(settings, options)
    for each in emr.runs(cluster.id, most):
        made = each["createdAt"].strftime("%Y-%m-%d %H:%M") if "createdAt" in each else ""
        print(f"{each['id']}  {each['state']:<14}  {made:<16}  {each.get('name', '')}")


@app.command()
@with_models((Settings, (*PASSED, *MACHINE)), (Options, TEMPLATE))
def template(
    settings: Settings,
    options: Options,
    *,
    register: Annotated[bool, typer.Option("--register", help="Register it, and print its id.")] = False,
) -> None:
    """Print a job template for these settings, as `aws emr-containers create-job-template` takes it.

    Its parameters are images, store, results and executors; image, role and logs are fixed.
    """
    from verger.emr.submission import new_template

    emr, request, uploads, notes = new_template(settings, options)
    _say(*notes)
    if register:
        for upload in uploads:
            upload.put(emr.aws)
        print(emr.register(request))
    else:
        _say(*(f"to be put to {upload.target}: a pod template" for upload in uploads))
        print(json.dumps(request, indent=2))


def _watch(emr: Emr, cluster: VirtualCluster, run: str, again: str, interval: float) -> None:
    from rich.console import Console

    from verger.emr.watch import watch

    try:
        watch(emr, cluster.id, run, Console(stderr=True), interval)
    except KeyboardInterrupt:
        raise LeftAlone(f"stopped watching; the run goes on, `{again}` comes back to it") from None


def _found(settings: Settings, options: Options) -> tuple[Emr, VirtualCluster]:
    """The virtual cluster of a run that was started: it may have ended since, but is nowhere else."""
    from verger.aws import Aws
    from verger.emr.service import Emr
    from verger.residency import Place, Policy

    if options.virtual_cluster is None:
        raise SettingsError("--virtual-cluster is missing; give its id or name, or set VERGER_EMR_VIRTUAL_CLUSTER")
    emr = Emr(Aws.of(settings))
    region = Place("--region", str(settings.region), settings.region, "its name")
    Policy.of(settings).admit(region)
    return emr, emr.cluster(options.virtual_cluster)


def _where(settings: Settings, cluster: VirtualCluster) -> str:
    return shlex.join(["--virtual-cluster", cluster.id, "--region", str(settings.region)])


def _say(*lines: Any) -> None:
    for line in lines:
        print(line, file=sys.stderr)
