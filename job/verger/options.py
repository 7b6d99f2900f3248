"""Options of the command line, made from models of settings, so that there is one list of them.

Values stay text here: the models read them, so that a wrong one is told in the same words wherever it comes from.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo
from rich.markup import escape

from verger.settings import Settings
from verger.sources import Configured

_METAVARS = {
    **dict.fromkeys(("images", "store", "results", "projection", "manifest", "event_log", "log_uri"), "URI"),
    **dict.fromkeys(("components", "max_bytes", "max_pixels", "commit_every", "partitions"), "N"),
    **dict.fromkeys(("driver_cores", "executor_cores", "executors", "attempts"), "N"),
    **dict.fromkeys(("weights", "prices", "config"), "FILE"),
    **dict.fromkeys(("driver_template", "executor_template"), "FILE|URI"),
    **dict.fromkeys(("region", "attest_region"), "REGION"),
    **dict.fromkeys(("kms_key", "execution_role"), "ARN"),
    **dict.fromkeys(("driver_memory", "driver_overhead", "executor_memory", "executor_overhead"), "SIZE"),
    "residency": "NAME", "policies": "NAME=REGION,...", "endpoint": "URL", "container_image": "IMAGE", "cache": "DIR",
    "scratch": "DIR", "include": "GLOB", "max_failed": "N|N%", "master": "URL", "executors_within": "SECONDS",
    "virtual_cluster": "ID|NAME", "release_label": "LABEL", "name": "NAME", "entry_point": "URI", "template": "ID",
    "log_group": "NAME", "log_prefix": "TEXT", "client_token": "TEXT",
}  # fmt: skip


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function of Settings: the fields `names` become its options."""
    return with_models((Settings, names))


def with_models(*parts: tuple[type[Configured], Sequence[str]]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function of several models, and of keywords of its own.

    The first model's `config` is the file of all of them.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            built: list[Any] = []
            for model, names in parts:
                file = {"config": built[0].config} if built else {}
                built.append(model.load(**file, **{name: given.pop(name) for name in names}))
            function(*built, **given)

        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        made = [_parameter(name, model.model_fields[name]) for model, names in parts for name in names]
        command.__signature__ = inspect.Signature([*made, *_own(function)])  # type: ignore[attr-defined]
        return command

    return decorate


def _own(function: Callable[..., None]) -> list[inspect.Parameter]:
    given = inspect.signature(function, eval_str=True).parameters.values()
    return [parameter for parameter in given if parameter.kind is inspect.Parameter.KEYWORD_ONLY]


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, field))


def _option(name: str, field: FieldInfo) -> Any:
    option = "--" + name.replace("_", "-")
    meaning = escape(str(field.description))
    if field.annotation is bool:
        both = f"{option}/--no-{name.replace('_', '-')}"
        return Annotated[bool | None, typer.Option(both, help=meaning, show_default=False)]
    if field.annotation == dict[str, str]:
        return Annotated[list[str] | None, typer.Option(option, help=f"{meaning} Once for each.", metavar="NAME=VALUE")]
    kinds = [kind for kind in (get_args(field.annotation) or (field.annotation,)) if kind is not type(None)]
    metavar = "|".join(str(kind) for kind in kinds) if isinstance(kinds[0], str) else _METAVARS.get(name, "TEXT")
    shown = "" if field.default in (None, {}) else escape(f" [default: {field.default}]")
    return Annotated[str | None, typer.Option(option, help=f"{meaning}{shown}", metavar=metavar)]
