"""What of a run is EMR's own: environment (VERGER_EMR_*) and the mapping `emr` of the YAML file, as options are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode, SettingsConfigDict

from verger.sources import Configured, Uri

ENTRY_POINT = "local:///opt/verger/main.py"  # of the image's target `emr`: see Dockerfile and image/main.py


def _pairs(value: Any) -> Any:
    """`a=1` for each, as the command line has them, or `a=1;b=2`, as the environment does."""
    if isinstance(value, str):
        value = [part for part in value.split(";") if part.strip()]
    if not isinstance(value, list):
        return {str(name): _text(each) for name, each in value.items()} if isinstance(value, dict) else value
    pairs = {}
    for part in value:
        name, equals, text = str(part).partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{part}: no pair; write NAME=VALUE")
        pairs[name.strip()] = text.strip()
    return pairs


def _text(value: Any) -> str:
    """As Spark reads it: YAML's true is `true`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


Size = Annotated[str, Field(pattern=r"^[1-9]\d*[mg]$")]
Count = Annotated[int, Field(ge=1)]
Pairs = Annotated[dict[str, str], NoDecode, BeforeValidator(_pairs)]


class Options(Configured):
    """Names and lengths are EMR's to limit: see `limits`."""

    model_config = SettingsConfigDict(env_prefix="VERGER_EMR_")
    section: ClassVar[str | None] = "emr"
    listed_by: ClassVar[str] = "verger emr submit --help"

    virtual_cluster: str | None = Field(None, description="Virtual cluster that runs it.")
    execution_role: str | None = Field(None, description="IAM role that the run's pods take.")
    release_label: str = Field("emr-7.13.0-latest", description="EMR's release: the one that the image is made on.")
    name: str = Field("verger", description="Name of the job run, or of the template.")
    entry_point: str = Field(ENTRY_POINT, description="What EMR starts: local:// is in the image.")
    driver_cores: Count = Field(1, description="Threads of the driver.")
    driver_memory: Size = Field("2g", description="Heap of the driver's JVM.")
    driver_overhead: Size = Field("1g", description="The driver's memory for Python and the network.")
    executors: Count = Field(2, description="Executors.")
    executor_cores: Count = Field(2, description="Images that an executor works on at a time.")
    executor_memory: Size = Field("2g", description="Heap of an executor's JVM.")
    executor_overhead: Size = Field("2g", description="An executor's memory for its Python workers.")
    spark_conf: Pairs = Field({}, description="Spark property; what EMR sets is kept if not given here.")
    driver_template: str | None = Field(None, description="Pod template of the driver; a file is put below --log-uri.")
    executor_template: str | None = Field(None, description="Pod template of the executors, likewise.")
    log_uri: Uri | None = Field(None, description="Folder of a bucket that EMR writes the pods' logs to.")
    log_group: str | None = Field(None, description="CloudWatch log group that EMR writes the pods' logs to.")
    log_prefix: str = Field("verger", min_length=1, description="What the names of its log streams begin with.")
    aws_keeps_logs: bool = Field(False, description="Let AWS keep logs and Spark's event log in buckets of its own.")
    attempts: Count = Field(1, description="Times that EMR starts a driver, if it fails.")
    tags: Pairs = Field({}, description="Tag of the job run.")
    client_token: str | None = Field(None, description="The same token is the same job run; else each is a new one.")
    template: str | None = Field(None, description="Job template to start the run from: `verger emr template`.")
    parameters: Pairs = Field({}, description="Value of a parameter of --template, beside the run's places.")
    config: Path | None = Field(None, description="YAML file whose mapping `emr` has any of these.")
