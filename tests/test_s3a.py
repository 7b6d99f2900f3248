"""What S3A's errors become. The texts are those that it gave in test_s3_denied and test_s3_faults."""

from __future__ import annotations

import pytest
from verger.s3a import explained

AWAY = (
    "An error occurred while calling o1.save.\n: java.net.ConnectException: Unable to execute HTTP request: Connect to "
    "127.0.0.1:47981 [/127.0.0.1] failed: Connection refused: software.amazon.awssdk.core.exception.SdkClientException:"
    " Unable to execute HTTP request: Connect to 127.0.0.1:47981\n\tat org.apache.Some.method(Some.java:1)"
)
DENIED = (
    "java.nio.file.AccessDeniedException: s3a://orchard/images: getFileStatus on s3a://orchard/images: "
    "software.amazon.awssdk.services.s3.model.S3Exception: Forbidden"
)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            AWAY,
            "S3 is away: Connect to 127.0.0.1:47981 [/127.0.0.1] failed: Connection refused; what was committed is "
            "kept: check the network and --endpoint, and run again",
        ),
        (
            DENIED,
            "s3://orchard/images: access denied (getFileStatus); let this run's role do that, or correct the location",
        ),
        ("java.lang.IllegalStateException: other", None),
    ],
    ids=["away", "denied", "another error"],
)
def test_what_s3a_says_becomes_one_line(message: str, line: str | None) -> None:
    assert explained(message) == line


@pytest.mark.parametrize(
    "said",
    [
        "java.io.UncheckedIOException: java.nio.file.NoSuchFileException: /var/run/secrets/sts/token\n\tat software",
        "org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n  File x\n"
        "FileNotFoundError: [Errno 2] No such file or directory: '/var/run/secrets/sts/token'\n",
    ],
    ids=["JVM", "worker"],
)
def test_an_executor_without_its_token_is_one_line(said: str) -> None:
    """What Spark 4.1 told of it on a real cluster (test_s3_cluster)."""
    line = explained(f"org.apache.spark.SparkException: Job aborted: Lost task 0.0 in stage 1.0 (TID 5): {said}")
    assert line is not None
    assert line.startswith("/var/run/secrets/sts/token: an executor has no such token")
