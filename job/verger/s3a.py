"""How S3A reaches S3: in one region, and not beyond it."""

from __future__ import annotations

import re

from verger.settings import Settings

# S3A repeats what fails, waiting for about 1, 2, 4, ... 32 s (each by chance half as long, or half as long again): a
# minute, as boto3 does here; its default of one more takes two. By default AWS's SDK makes 6 tries of each of these,
# and waits 200 s for each answer: a server that takes connections and says nothing would hold a run for hours.
PATIENCE = {
    "retry.limit": "6",
    "attempts.maximum": "1",  # tries after the SDK's first one
    "connection.establish.timeout": "15s",  # S3A takes no less
    "connection.timeout": "60s",
}
_REFUSED = re.compile(r"AccessDeniedException: (?:s3a://)?(?P<place>[^:\s]+): (?P<what>[^:]+)")
# Its line says why; the classes that follow say it again.
_AWAY = re.compile(r"Unable to execute HTTP request: (?P<why>.+?)(: [a-z]+\.[\w.]+: |\n|$)")
_TOKEN = re.compile(r"UncheckedIOException: java\.nio\.file\.NoSuchFileException: (?P<file>[^\s;]*token[^\s;]*)")


def s3a(settings: Settings, provider: str) -> dict[str, str]:
    """Spark's settings for buckets; without them S3A asks us-east-2, and follows a bucket into any region.

    `provider` is the class that gives the JVM the run's credentials.
    """
    endpoint = settings.endpoint or f"s3.{settings.region}.amazonaws.com"
    options = {
        **PATIENCE,
        "endpoint": endpoint,
        "endpoint.region": str(settings.region),
        "cross.region.access.enabled": "false",
        "connection.ssl.enabled": str(not endpoint.startswith("http://")).lower(),
        "path.style.access": str(settings.endpoint is not None).lower(),
        "aws.credentials.provider": provider,
    }
    if settings.kms_key:
        options |= {"encryption.algorithm": "SSE-KMS", "encryption.key": settings.kms_key}
    return {f"spark.hadoop.fs.s3a.{name}": value for name, value in options.items()}


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
