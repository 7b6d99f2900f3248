"""How S3A reaches S3: in one region, and not beyond it, by Verger's own settings or beside those of EMR."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from verger.errors import ResidencyError, SettingsError
from verger.settings import Settings

PREFIX = "spark.hadoop.fs.s3a."
# Files of Spark's own format appear when a job commits, by completed uploads: nothing is renamed (Hadoop, "S3A
# Committers"; Spark, "Integration with cloud infrastructures").
COMMITTER = {
    f"{PREFIX}committer.name": "magic",
    "spark.sql.sources.commitProtocolClass": "org.apache.spark.internal.io.cloud.PathOutputCommitProtocol",
    "spark.sql.parquet.output.committer.class": "org.apache.spark.internal.io.cloud.BindingParquetOutputCommitter",
}
# S3A repeats what fails, waiting for about 1, 2, 4, ... 32 s (each by chance half as long, or half as long again): a
# minute, as boto3 does here; its default of one more takes two. By default AWS's SDK makes 6 tries of each of these,
# and waits 200 s for each answer: a server that takes connections and says nothing would hold a run for hours.
PATIENCE = {
    "retry.limit": "6",
    "attempts.maximum": "1",  # tries after the SDK's first one
    "connection.establish.timeout": "15s",  # S3A takes no less
    "connection.timeout": "60s",
}
FILE_SYSTEM = "org.apache.hadoop.fs.s3a.S3AFileSystem"
# Where S3A goes and how, for all buckets or one. EMR takes some of these in EMRFS's names as well, fs.s3.*:
# https://docs.aws.amazon.com/emr/latest/ReleaseGuide/emr-s3a-migrate.html
_LEADING = re.compile(
    r"spark\.hadoop\.fs\.(?:s3|s3n|s3a)\.(?:bucket\..+?\.)?"
    r"(?P<name>endpoint|endpoint\.region|cross\.region\.access\.enabled|connection\.ssl\.enabled|encryption\.\w+)"
    r"|spark\.hadoop\.fs\.s3a\.(?P<class>impl)"
)
_REFUSED = re.compile(r"AccessDeniedException: (?:s3a://)?(?P<place>[^:\s]+): (?P<what>[^:]+)")
# Its line says why; the classes that follow say it again.
_AWAY = re.compile(r"Unable to execute HTTP request: (?P<why>.+?)(: [a-z]+\.[\w.]+: |\n|$)")
# Said by the JVM's SDK, or by Python's.
_TOKEN = re.compile(
    r"(?:UncheckedIOException: java\.nio\.file\.NoSuchFileException: |FileNotFoundError: \[Errno 2\] [^:]+: ')"
    r"(?P<file>[^\s;']*token[^\s;']*)"
)


def own(settings: Settings, provider: str) -> dict[str, str]:
    """Spark's settings for buckets; without them S3A asks us-east-2, and follows a bucket into any region.

    `provider` is the class that gives the JVM the run's credentials.
    """
    options = {**PATIENCE, **_in_region(settings), "connection.maximum": "200", "aws.credentials.provider": provider}
    return COMMITTER | {f"{PREFIX}{name}": value for name, value in options.items()}


def beside_emr(settings: Settings, given: Mapping[str, str]) -> dict[str, str]:
    """What residency needs beyond what EMR has `given` Spark: EMR's credentials, committers and tuning stay.

    Raises ResidencyError for a value of EMR's that leads out of the region, SettingsError for another --kms-key.
    """
    needed = _in_region(settings)
    for key, value in given.items():
        if (found := _LEADING.fullmatch(key)) is not None:
            name = found["name"] or found["class"]
            _refuse_contradiction(settings, needed | {"impl": FILE_SYSTEM}, name, key, value)
    return {key: value for name, value in needed.items() if (key := f"{PREFIX}{name}") not in given}


def _in_region(settings: Settings) -> dict[str, str]:
    """What keeps S3A where the run's data is, and its writes encrypted."""
    endpoint = settings.endpoint or f"s3.{settings.region}.amazonaws.com"
    options = {
        "endpoint": endpoint,
        "endpoint.region": str(settings.region),
        "cross.region.access.enabled": "false",
        "connection.ssl.enabled": str(not endpoint.startswith("http://")).lower(),
        "path.style.access": str(settings.endpoint is not None).lower(),
    }
    if settings.kms_key:
        options |= {"encryption.algorithm": "SSE-KMS", "encryption.key": settings.kms_key}
    return options


def _refuse_contradiction(settings: Settings, needed: dict[str, str], name: str, key: str, value: str) -> None:
    agrees = name not in needed or value.strip().lower() == needed[name].lower()
    if name == "endpoint":
        agrees = _is_in_region(value, settings)
    if not agrees:
        error = SettingsError if name.startswith("encryption") else ResidencyError
        raise error(
            f"{key.removeprefix('spark.hadoop.')}={value}: set for this job, but the run needs {needed[name]}; leave "
            "it out of the job's spark-defaults and core-site, or correct it"
        )


def _is_in_region(endpoint: str, settings: Settings) -> bool:
    """Whether an endpoint is the run's own server, or one of AWS's in its region: regional, dual-stack or a VPC's."""
    host = _host(endpoint)
    if endpoint.lower().startswith("http://") and not (settings.endpoint or "").startswith("http://"):
        return False  # S3A takes it at its word, whatever connection.ssl.enabled says
    if settings.endpoint is not None:
        return host == _host(settings.endpoint)
    return host.endswith(".amazonaws.com") and settings.region in host.split(".")


def _host(endpoint: str) -> str:
    """With its port."""
    return urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").netloc.lower()


def explained(message: str) -> str | None:
    """One line for S3A's word that S3 refused something, is away, or was not asked at all; None for any other error."""
    if (token := _TOKEN.search(message)) is not None:
        return (
            f"{token['file']}: an executor has no such token, and so no identity; mount the service account's token "
            "in the executors' pods too, where AWS_WEB_IDENTITY_TOKEN_FILE says"
        )
    if (refused := _REFUSED.search(message)) is not None:
        what = refused["what"].split(" on ")[0]
        return f"s3://{refused['place']}: access denied ({what}); let this run's role do that, or correct the location"
    if (away := _AWAY.search(message)) is not None:
        return f"S3 is away: {away['why']}; what was committed is kept: check the network and --endpoint, and run again"
    return None
