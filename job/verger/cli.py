"""The commands. Options are made from the settings model, so that there is one list of them."""

from __future__ import annotations

import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, NoReturn, get_args

import typer
from rich.console import Console

from verger import __version__
from verger.errors import VergerError
from verger.kubernetes.commands import app as kubernetes
from verger.settings import Settings

FOLDERS = ("images", "store", "results")
S3 = (
    "region", "residency", "policies", "endpoint", "attest_region", "allow_http", "allow_static_keys", "kms_key",
    "container_image",
)  # fmt: skip
COMPUTING = (
    "engine", "weights", "untrained", "overwrite", "include", "exif", "max_failed", "max_bytes", "max_pixels",
    "commit_every", "partitions", "manifest", *S3, "event_log", "master", "executors_within", "driver_memory", "cache",
    "scratch", "config", "verbose",
)  # fmt: skip
STOPPED = "stopped; what was committed to the store is kept, the same command goes on from there"

app = typer.Typer(name="verger", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(kubernetes, name="kubernetes")


def with_settings(*names: str) -> Callable[[Callable[[Settings], None]], Callable[..., None]]:
    """Make a command of a function of Settings: the fields `names` become its options.

    Values stay text here: the settings model reads them, so that a wrong one is told in the same words wherever it
    comes from.
    """

    def decorate(function: Callable[[Settings], None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            function(Settings.load(**given))

        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name))
                for name in names
            ]
        )
        return command

    return decorate


def _option(name: str) -> Any:
    field = Settings.model_fields[name]
    option = "--" + name.replace("_", "-")
    shown = "" if field.default is None or field.annotation is bool else f" [default: {field.default}]"
    if field.annotation is bool:
        both = f"{option}/--no-{name.replace('_', '-')}"
        return Annotated[bool | None, typer.Option(both, help=field.description, show_default=False)]
    kinds = [kind for kind in (get_args(field.annotation) or (field.annotation,)) if kind is not type(None)]
    metavar = "|".join(str(kind) for kind in kinds) if isinstance(kinds[0], str) else _METAVARS.get(name, "TEXT")
    return Annotated[str | None, typer.Option(option, help=f"{field.description}{shown}", metavar=metavar)]


_METAVARS = {
    **dict.fromkeys(("images", "store", "results", "projection", "manifest", "event_log"), "URI"),
    **dict.fromkeys(("components", "max_bytes", "max_pixels", "commit_every", "partitions"), "N"),
    **dict.fromkeys(("weights", "config"), "FILE"),
    **dict.fromkeys(("region", "attest_region"), "REGION"),
    "residency": "NAME", "policies": "NAME=REGION,...", "endpoint": "URL", "kms_key": "ARN", "container_image": "IMAGE",
    "cache": "DIR", "scratch": "DIR", "include": "GLOB", "max_failed": "N|N%", "master": "URL", "driver_memory": "SIZE",
    "executors_within": "SECONDS",
}  # fmt: skip


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
    telling = [line for line in lines if line.startswith("verger.") or "Error: " in line or "Exception: " in line]
    return f"{type(error).__name__}: {(telling or lines or [''])[0]}; --verbose shows the traceback"


def _fail(message: str, code: int, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    print(f"verger: {' '.join(message.split())}", file=sys.stderr)
    return code
