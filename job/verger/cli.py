"""The commands, and how each of them ends."""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from verger import __version__
from verger.emr.commands import app as emr
from verger.errors import RUN_SAYS, VergerError
from verger.kubernetes.commands import app as kubernetes
from verger.options import with_settings
from verger.settings import Settings

FOLDERS = ("images", "store", "results")
S3 = (
    "region", "residency", "policies", "endpoint", "attest_region", "allow_http", "allow_static_keys", "kms_key",
    "container_image", "s3a",
)  # fmt: skip
COMPUTING = (
    "engine", "weights", "untrained", "overwrite", "include", "exif", "max_failed", "max_bytes", "max_pixels",
    "commit_every", "partitions", "manifest", *S3, "event_log", "master", "executors_within", "driver_memory", "cache",
    "scratch", "prices", "config", "verbose",
)  # fmt: skip
STOPPED = "stopped; what was committed to the store is kept, the same command goes on from there"

app = typer.Typer(name="verger", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(kubernetes, name="kubernetes")
app.add_typer(emr, name="emr")


@app.callback(invoke_without_command=True)
def verger(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Images into features: MobileNetV2 on Spark, standardised, reduced by PCA, as Parquet and CSV."""
    if version:
        print(f"verger {__version__}")
        raise typer.Exit


@app.command()
@with_settings(*FOLDERS, "components", *COMPUTING)
def run(settings: Settings) -> None:
    """Embed the new images of a folder, then standardise and reduce the features of all of them."""
    _tell(_job(settings).run())


@app.command()
@with_settings(*FOLDERS, "projection", *COMPUTING)
def transform(settings: Settings) -> None:
    """Put images through the projection of an earlier run."""
    _tell(_job(settings).transform())


@app.command()
@with_settings(
    *FOLDERS, *S3, "engine", "weights", "untrained", "master", "executors_within", "driver_memory", "cache", "scratch",
    "config", "verbose",
)  # fmt: skip
def check(settings: Settings) -> None:
    """Try all that a run needs, here and now: identity, regions, places, weights, engine, memory, Spark."""
    from verger.check import check as check_machine

    check_machine(settings, _show())


@app.command()
@with_settings("cache", "weights", "engine", "driver_memory", "config", "verbose")
def prepare(settings: Settings) -> None:
    """Fetch and check what runs need: Java, jars, weights, the converted network, the JVM's class archive."""
    from verger.prepare import prepare as prepare_machine

    prepare_machine(settings, _show())


@app.command()
@with_settings("images", "store", "results", "components", "weights", "cache", "verbose")
def demo(settings: Settings) -> None:
    """Run the whole job on a few hundred fruit-like images, drawn here. [default: folders below ./demo]"""
    from verger.demo import demo as run_demo

    _tell(run_demo(settings, _show()))


@app.command()
@with_settings("results", *S3, "prices", "config", "verbose")
def cost(
    settings: Settings,
    *,
    count: Annotated[int | None, typer.Option(help="Images that a run would embed.", metavar="N")] = None,
    size: Annotated[int | None, typer.Option("--bytes", help="What they weigh in all.", metavar="N")] = None,
    conf: Annotated[
        list[str] | None, typer.Option(help="Spark's sizes, where they are not the chart's.", metavar="NAME=VALUE")
    ] = None,
) -> None:
    """Estimate what a run would cost (--count, --bytes), or price the one that left --results again."""
    from verger.cost import lines
    from verger.estimate import again, asked

    found = again(settings, _show()) if count is None else asked(settings, count, size or 0, conf or [])
    for line in lines(found.plain()):
        print(line)


def _job(settings: Settings) -> Any:
    """The job, with its JVM on the way: that takes seconds, which the imports of the rest can share."""
    from verger.launch import Launch

    for name in FOLDERS:
        settings.location(name)
    signal.signal(signal.SIGTERM, _stop)
    launch = Launch(settings)
    from verger.pipeline import Run

    return Run(settings, _show(), launch)


def _stop(number: int, _: object) -> NoReturn:
    """As Ctrl-C: what is open is closed, the store's lease among it, and once more changes nothing."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _show() -> Any:
    from verger.progress import Show

    return Show(Console(stderr=True))


def _tell(outcome: Any) -> None:
    """The account of a run, on standard output."""
    from verger.results import summary

    for line in summary(outcome.location, outcome.manifest):
        print(line)


def main() -> None:
    """The entry point: every error that is meant becomes one line and its exit code."""
    verbose = "--verbose" in sys.argv
    try:
        code = app(standalone_mode=False)
    except VergerError as error:
        code = _fail(str(error), error.exit_code, verbose)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail(STOPPED, 130, False)
    except SystemExit as stopped:
        code = _fail(STOPPED, int(stopped.code or 0), False)
    except Exception as error:  # the last place: whatever was not foreseen is still one line
        usage = getattr(error, "format_message", None)  # click's own: an unknown option or command
        if usage is not None:
            code = _fail(f"{usage()}; see `verger --help`", 2, verbose)
        else:
            code = _fail(_unforeseen(error), 1, verbose)
    _leave(int(code or 0))


def _leave(code: int) -> NoReturn:
    """All is written and stopped: to take PySpark and pandas apart, module by module, would cost 0.3 s."""
    with suppress(BrokenPipeError):  # whoever read this has seen enough
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _unforeseen(error: Exception) -> str:
    """The line that says most: Spark puts the worker's own error at the end of a traceback in the message."""
    from verger import lost, s3a

    if (line := s3a.explained(str(error)) or lost.explained(error)) is not None:
        return line
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith(("\t", " "))]
    for line in lines:
        if (ours := re.match(r"verger\.errors\.\w+: (.+)", line)) is not None:  # a worker's own word
            return ours[1]
    telling = [line for line in lines if line.startswith("verger.") or "Error: " in line or "Exception: " in line]
    return f"{type(error).__name__}: {(telling or lines or [''])[0]}; --verbose shows the traceback"


def _fail(message: str, code: int, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    print(f"{RUN_SAYS}{' '.join(message.split())}", file=sys.stderr)
    return code
