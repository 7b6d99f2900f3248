"""AWS by boto3, where Spark is not involved: one client configuration, and errors as one line."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    SSOError,
    TokenRetrievalError,
)

from verger.errors import Away, SettingsError, VergerError
from verger.s3_requests import Tally

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sts import STSClient

    from verger.settings import Settings

# Throttling and servers that are away are waited out: for half a minute at least, a minute on average (`_pause`). Not
# in the mode `standard`: there, all requests of a client share a quota of 35 retries, which uploads side by side use
# up in a second; then the first error ends the run.
CONFIG = Config(
    retries={"mode": "legacy", "total_max_attempts": 7},
    connect_timeout=10,
    read_timeout=60,
    max_pool_connections=32,
    s3={"addressing_style": "auto"},
)
HURRIED = Config(retries={"mode": "legacy", "total_max_attempts": 3})  # for 5 s at most
# Of commands that somebody waits for: throttling and servers that are away are waited out for 8 s at most.
INTERACTIVE = Config(retries={"mode": "standard", "total_max_attempts": 4})
AWS_HOST = ".amazonaws.com"
EXPIRED = (
    "ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId", "UnrecognizedClientException",
)  # fmt: skip
THROTTLED = (
    "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException", "RequestLimitExceeded",
    "SlowDown",
)  # fmt: skip
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403", "Forbidden")
# What an answer calls the region of a bucket, and S3's oldest names for two of them.
OLD_REGIONS = {"": "us-east-1", "EU": "eu-west-1"}


@dataclass(frozen=True)
class Aws:
    """Clients for one region. Usage: Aws.of(settings).s3.list_objects_v2(...)"""

    region: str
    endpoint: str | None = None
    kms_key: str | None = None
    tally: Tally = field(default_factory=Tally, compare=False, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Aws:
        """The clients of a run; a SettingsError when no region is known."""
        if settings.region is None:
            raise SettingsError("--region is missing; give the region of the buckets, or set AWS_REGION")
        return cls(settings.region, settings.endpoint, settings.kms_key)

    @cached_property
    def s3(self) -> S3Client:
        """S3 in this region and nowhere else: neither AWS_ENDPOINT_URL nor a redirect leads to another server."""
        return self._s3(CONFIG)

    def hurry(self) -> None:
        """Try requests for seconds from here on: a run has failed, and what it still does is to tidy up.

        When S3 is away, each of these requests would take a minute to find out what is known.
        """
        vars(self)["s3"] = self._s3(CONFIG.merge(HURRIED))

    def _s3(self, config: Config) -> S3Client:
        style = Config(s3={"addressing_style": "path"}) if self.endpoint else Config()
        endpoint = self.endpoint or f"https://s3.{self.region}{AWS_HOST}"
        client = self._session.client("s3", endpoint_url=endpoint, config=config.merge(style))
        client.meta.events.register_last("before-parameter-build.s3", _stay)
        client.meta.events.register("before-send.s3", self.tally.see)
        client.meta.events.register("before-send.s3", _pause)
        return client

    @cached_property
    def sts(self) -> STSClient:
        client = self._session.client("sts", config=CONFIG)
        if client.meta.endpoint_url.endswith(AWS_HOST):
            return client
        # A server of one's own (AWS_ENDPOINT_URL_STS) wants what AWS's global STS wants: a signature for us-east-1.
        return self._session.client("sts", config=CONFIG, region_name="us-east-1")

    def client(self, service: str) -> Any:
        """Of another service of this region, for a command that somebody waits for."""
        return self._session.client(service, config=CONFIG.merge(INTERACTIVE))  # type: ignore[call-overload]

    @property
    def credentials(self) -> Credentials | None:
        return self._session.get_credentials()

    def region_of(self, bucket: str) -> str | None:
        """The region that a bucket says it is in; None when a server of one's own has no word for it."""
        with told(f"s3://{bucket}"):
            try:
                answer: Any = self.s3.head_bucket(Bucket=bucket)
            except ClientError as error:
                answer = error.response
                if code(error) in ("404", "NoSuchBucket"):
                    raise
        region: str | None = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
        return region or self._constraint(bucket)

    def _constraint(self, bucket: str) -> str | None:
        with told(f"s3://{bucket}"):
            try:
                constraint = str(self.s3.get_bucket_location(Bucket=bucket).get("LocationConstraint") or "")
            except ClientError as error:
                constraint = str(error.response["Error"].get("Region", ""))
                if not constraint:
                    raise
        return (OLD_REGIONS.get(constraint, constraint) if self.endpoint is None else constraint) or None

    @cached_property
    def _session(self) -> boto3.Session:
        return boto3.Session(region_name=self.region)

    @property
    def encryption(self) -> dict[str, Any]:
        """What each write asks for: encryption by the KMS key, if there is one."""
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key} if self.kms_key else {}

    def assure(self, answer: Mapping[str, Any], what: object) -> None:
        """A VergerError unless S3 itself says that it encrypts what was written by the run's key, if it has one."""
        if self.kms_key is not None and answer.get("SSEKMSKeyId") != self.kms_key:
            said = answer.get("SSEKMSKeyId") or answer.get("ServerSideEncryption") or "nothing"
            raise VergerError(
                f"{what}: not encrypted by --kms-key {self.kms_key}, S3 says {said}; let the server and the bucket's "
                "policy take that key"
            )


def _stay(context: dict[str, Any], **_: Any) -> None:
    """botocore follows a bucket into its region by itself, once a request: for it, that has been done."""
    context.setdefault("s3_redirect", {})["redirected"] = True


def _pause(request: AWSPreparedRequest, **_: Any) -> None:
    """Wait before a request that is tried again, beside what botocore waits.

    That is anything from nothing to 1, 2, 4, ... seconds, by chance: of the dozens of requests that a worker has under
    way when S3 goes away, one would have used up its tries in some seconds, and end the run. So a part of the pause is
    not left to chance (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter, "equal jitter").
    """
    said = str(request.headers.get("amz-sdk-request", ""))
    if (found := re.search(r"attempt=(\d+)", said)) is not None and (tried := int(found[1]) - 1) > 0:
        time.sleep(2 ** (tried - 1) / 2)


def code(error: ClientError) -> str:
    """`NoSuchKey`, `404`, `AccessDenied`, ..."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def told(what: object) -> Iterator[None]:
    """An error of AWS inside becomes one line about `what`."""
    try:
        yield
    except NoCredentialsError as error:
        raise VergerError(
            f"{what}: no credentials for AWS; run with web identity (IRSA, EKS Pod Identity) or a signed-in profile"
        ) from error
    except ClientError as error:
        busy = code(error) in THROTTLED or error.response["ResponseMetadata"].get("HTTPStatusCode", 0) >= 500
        kind = Away if busy else VergerError
        raise kind(f"{what}: {_answer(error)}") from error
    except (SSOError, TokenRetrievalError) as error:
        raise VergerError(f"{what}: the profile's session has expired; `aws sso login`, and run again") from error
    except (BotoCoreError, ParseError) as error:  # ParseError: not S3 answers, but a portal or a proxy, in HTML
        detail = " ".join(str(error).split())
        kind = Away if isinstance(error, ConnectionError | HTTPClientError) else VergerError
        raise kind(f"{what}: {detail}; check the network and --endpoint, and run again") from error


def _answer(error: ClientError) -> str:
    kind, said = code(error), str(error.response.get("Error", {}).get("Message", "")).rstrip(".")
    operation = error.operation_name
    if kind in EXPIRED:
        return f"the credentials have expired or are unknown to AWS ({operation}: {kind}); sign in again, and run again"
    if kind in THROTTLED:
        return f"AWS asks for fewer requests ({operation}: {kind}); wait a minute, and run again"
    if kind in DENIED:
        return f"access denied to {operation}; let this run's role do that, or correct the location"
    if kind in ("NoSuchBucket", "404"):
        return f"no such bucket ({operation}); correct the location, or make the bucket"
    return f"{operation} was refused: {kind} {said}; see the role, the location and --region"
