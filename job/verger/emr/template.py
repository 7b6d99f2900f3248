"""Job templates: a run with everything fixed but its places, for whoever starts it by a pipeline of their own.

https://docs.aws.amazon.com/emr/latest/EMR-on-EKS-DevelopmentGuide/job-templates.html
"""

from __future__ import annotations

import json
import re
from typing import Any

from verger.emr import request
from verger.emr.options import Options
from verger.emr.request import PASSED, PLACES
from verger.errors import SettingsError
from verger.settings import Settings

# What a run from a template may still be told: where it is, which this machine has to know too.
HERE = ("region", "residency", "policies", "endpoint", "attest_region", "allow_http")
FREE = ("virtual_cluster", "name", "attempts", "tags", "client_token", "template", "parameters", "config")
_IMAGE = "spark.kubernetes.container.image"
_OURS = (_IMAGE, "spark.pyspark.python", *(f"spark.kubernetes.{pod}.podTemplateFile" for pod in ("driver", "executor")))
_PARAMETER = re.compile(r"\$\{([^}]+)\}")


def create(settings: Settings, options: Options, token: str) -> dict[str, Any]:
    """The request of CreateJobTemplate: places that are given are the parameters' defaults."""
    open_places = settings.model_copy(update={name: f"${{{name}}}" for name in PLACES})
    parameters: dict[str, dict[str, str]] = {}
    for name in PLACES:
        default = getattr(settings, name)
        parameters[name] = {"type": "STRING", **({"defaultValue": default} if default else {})}
    parameters["executors"] = {"type": "NUMBER", "defaultValue": str(options.executors)}
    driver = request.driver(open_places, options, **{"spark.executor.instances": "${executors}"})
    return {
        "name": options.name,
        "clientToken": token,
        "jobTemplateData": {
            "executionRoleArn": options.execution_role,
            "releaseLabel": options.release_label,
            "jobDriver": driver,
            "configurationOverrides": {
                "applicationConfiguration": request.configuration(settings, options),
                "monitoringConfiguration": request.monitoring(options, managed=False),
            },
            "parameterConfiguration": parameters,
            **({"jobTags": dict(options.tags)} if options.tags else {}),
        },
        **request.tags(options),
    }


def values(data: dict[str, Any], settings: Settings, options: Options) -> dict[str, str]:
    """What the run gives the template's parameters; a SettingsError for what the template does not ask for."""
    for name in (name for name in PASSED if name not in (*PLACES, *HERE)):
        if (value := getattr(settings, name)) != Settings.model_fields[name].default:
            raise _fixed(name, value)
    for name, field in Options.model_fields.items():
        if name not in FREE and (value := getattr(options, name)) != field.default:
            raise _fixed(name, value)
    known = data.get("parameterConfiguration", {})
    given = {name: value for name in PLACES if (value := getattr(settings, name)) is not None}
    given |= options.parameters
    for name in given:
        if name not in known:
            there = ", ".join(known) or "none"
            raise SettingsError(f"--parameters {name}: not one of template {options.template}, which has {there}")
    for name, parameter in known.items():
        if name not in given and parameter.get("defaultValue") is None:
            option = f"--{name}" if name in PLACES else f"--parameters {name}=..."
            raise SettingsError(f"{option} is missing; template {options.template} has no default for it: give it")
    return given


def _fixed(name: str, value: Any) -> SettingsError:
    shown = "" if isinstance(value, bool) else f" {value}"
    return SettingsError(
        f"--{name.replace('_', '-')}{shown}: the template says it; leave it out, or give --parameters if it has one"
    )


def described(
    data: dict[str, Any], given: dict[str, str], settings: Settings, options: Options
) -> tuple[Settings, Options]:
    """The settings and options that a run from the template comes to, for what is checked before."""
    filled = _filled(data, given)
    overrides = filled.get("configurationOverrides", {})
    monitoring = overrides.get("monitoringConfiguration", {})
    driver = filled["jobDriver"]["sparkSubmitJobDriver"]
    properties: dict[str, str] = {}
    for each in overrides.get("applicationConfiguration", []):
        properties |= each.get("properties", {})
    words = driver.get("entryPointArguments", [])
    places = {name: words[words.index(f"--{name}") + 1] for name in PLACES if f"--{name}" in words[:-1]}
    found = {
        "execution_role": filled["executionRoleArn"],
        "entry_point": driver["entryPoint"],
        "spark_conf": {name: value for name, value in properties.items() if name not in _OURS},
        "log_uri": monitoring.get("s3MonitoringConfiguration", {}).get("logUri"),
        "log_group": monitoring.get("cloudWatchMonitoringConfiguration", {}).get("logGroupName"),
    }
    image = {"container_image": properties.get(_IMAGE)}
    return settings.model_copy(update=places | image), options.model_copy(update=found)


def _filled(data: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
    defaults = {name: each.get("defaultValue") for name, each in data.get("parameterConfiguration", {}).items()}
    known = {name: value for name, value in (defaults | given).items() if value is not None}
    text = json.dumps({name: value for name, value in data.items() if name != "parameterConfiguration"})
    filled: dict[str, Any] = json.loads(
        _PARAMETER.sub(lambda found: json.dumps(known.get(found[1], found[0]))[1:-1], text)
    )
    return filled
