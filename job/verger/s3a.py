"""How S3A reaches S3: in one region, and not beyond it."""

from __future__ import annotations

from verger.settings import Settings


def s3a(settings: Settings, provider: str) -> dict[str, str]:
    """Spark's settings for buckets; without them S3A asks us-east-2, and follows a bucket into any region.

    `provider` is the class that gives the JVM the run's credentials.
    """
    endpoint = settings.endpoint or f"s3.{settings.region}.amazonaws.com"
    options = {
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
