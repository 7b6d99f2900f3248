"""What EMR is asked to start: the settings of a run as a request of StartJobRun.

https://docs.aws.amazon.com/emr-on-eks/latest/APIReference/API_StartJobRun.html
"""

from __future__ import annotations

from typing import Any

from verger.emr.options import ENTRY_POINT, Options
from verger.locations import Location
from verger.settings import Settings

# Settings that a run on EMR is given: the others are of a machine, and the image has its own.
PLACES = ("images", "store", "results")
PASSED = (
    *PLACES, "projection", "manifest", "event_log", "region", "residency", "policies", "endpoint", "attest_region",
    "allow_http", "kms_key", "container_image", "components", "engine", "untrained", "overwrite",
    "include", "exif", "max_failed", "max_bytes", "max_pixels", "commit_every", "partitions", "executors_within",
)  # fmt: skip
PYTHON = "/opt/verger/venv/bin/python"  # in the image: EMR's own `python3` has no Verger


def start(settings: Settings, options: Options, cluster: str, token: str) -> dict[str, Any]:
    """The request for a run of these settings in a virtual cluster, by its id."""
    return {
        "name": options.name,
        "virtualClusterId": cluster,
        "clientToken": token,
        "executionRoleArn": options.execution_role,
        "releaseLabel": options.release_label,
        "jobDriver": driver(settings, options),
        "configurationOverrides": {
            "applicationConfiguration": configuration(settings, options),
            "monitoringConfiguration": monitoring(options, managed=True),
        },
        "retryPolicyConfiguration": {"maxAttempts": options.attempts},
        **tags(options),
    }


def start_from_template(places: dict[str, str], options: Options, cluster: str, token: str) -> dict[str, Any]:
    """The request for a run that a job template describes."""
    assert options.template is not None
    return {
        "name": options.name,
        "virtualClusterId": cluster,
        "clientToken": token,
        "jobTemplateId": options.template,
        "jobTemplateParameters": {**places, **options.parameters},
        "retryPolicyConfiguration": {"maxAttempts": options.attempts},
        **tags(options),
    }


def driver(settings: Settings, options: Options, **given: str) -> dict[str, Any]:
    """What spark-submit is told; `given` are sizes that stand in for those of the options."""
    return {
        "sparkSubmitJobDriver": {
            "entryPoint": options.entry_point,
            "entryPointArguments": arguments(settings),
            "sparkSubmitParameters": _parameters(options, **given),
        }
    }


def arguments(settings: Settings) -> list[str]:
    """The command that the driver runs: what differs from the defaults, and nothing of this machine."""
    words = ["transform" if settings.projection is not None else "run"]
    for name in PASSED:
        value, option = getattr(settings, name), name.replace("_", "-")
        if value == type(settings).model_fields[name].default:
            continue
        words += [f"--{'' if value else 'no-'}{option}"] if isinstance(value, bool) else [f"--{option}", _word(value)]
    return words


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return ";".join(f"{name}={','.join(regions)}" for name, regions in value.items())
    return str(value)


def _parameters(options: Options, **given: str) -> str:
    """One string, which EMR takes apart at its spaces: only what has none is in it. The rest are properties."""
    return " ".join(f"--conf {name}={value}" for name, value in (sizes(options) | given).items())


def sizes(options: Options) -> dict[str, str]:
    """Spark's properties for what driver and executors may have."""
    found = {
        "spark.driver.cores": options.driver_cores,
        "spark.driver.memory": options.driver_memory,
        "spark.driver.memoryOverhead": options.driver_overhead,
        "spark.executor.instances": options.executors,
        "spark.executor.cores": options.executor_cores,
        "spark.executor.memory": options.executor_memory,
        "spark.executor.memoryOverhead": options.executor_overhead,
    }
    return {name: str(value) for name, value in found.items()}


def configuration(settings: Settings, options: Options) -> list[dict[str, Any]]:
    """Properties that EMR lays over its own: its S3A, committers and Delta jars stay as it sets them."""
    templates = {"driver": options.driver_template, "executor": options.executor_template}
    properties = {
        **({"spark.kubernetes.container.image": settings.container_image} if settings.container_image else {}),
        **({"spark.pyspark.python": PYTHON} if options.entry_point == ENTRY_POINT else {}),
        **{f"spark.kubernetes.{pod}.podTemplateFile": uri for pod, uri in templates.items() if uri},
        **options.spark_conf,
    }
    return [{"classification": "spark-defaults", "properties": properties}]


def monitoring(options: Options, managed: bool) -> dict[str, Any]:
    """Where logs go. A template has no word for logs that AWS keeps (`managed`)."""
    kept = "ENABLED" if options.aws_keeps_logs else "DISABLED"
    found: dict[str, Any] = {"persistentAppUI": kept}
    if managed:
        found["managedLogs"] = {"allowAWSToRetainLogs": kept}
    if options.log_uri is not None:
        found["s3MonitoringConfiguration"] = {"logUri": str(Location.parse(options.log_uri))}
    if options.log_group is not None:
        group = {"logGroupName": options.log_group, "logStreamNamePrefix": options.log_prefix}
        found["cloudWatchMonitoringConfiguration"] = group
    return found


def tags(options: Options) -> dict[str, Any]:
    return {"tags": dict(options.tags)} if options.tags else {}
